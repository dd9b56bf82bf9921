"""`/api/v1/conversations`: list, read, change, fork, export and search."""

from __future__ import annotations

from typing import Any

from engine.api.routes import Answer, HttpRequest, Route
from plugins.chat.history.bodies import (
    ConversationChange,
    ConversationCreate,
    ConversationsQuery,
    ExportQuery,
    Fork,
    SearchQuery,
)
from plugins.chat.history.conversations import ConversationPage
from plugins.chat.history.export import Exported, markdown
from plugins.chat.history.message_routes import MessageRoutes
from plugins.chat.history.prompt_routes import PromptRoutes
from plugins.chat.history.records import Conversation, ConversationWithMessages
from plugins.chat.history.search import FoundPage
from plugins.chat.history.store import History

NOT_FOUND = {404: "conversation_not_found"}


def routes(history: History) -> list[Route]:
    """All routes of the history."""
    return [
        *ConversationRoutes(history).routes(),
        *MessageRoutes(history).routes(),
        *PromptRoutes(history.prompts).routes(),
    ]


class ConversationRoutes:
    """Handlers for conversations."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._conversations = history.conversations
        self._claims = history.claims

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/conversations",
                handler=self.list,
                query=ConversationsQuery,
                returns=ConversationPage,
                summary="The caller's conversations, the one that changed last first.",
                tag="conversations",
            ),
            Route(
                method="POST",
                path="/api/v1/conversations",
                handler=self.create,
                body=ConversationCreate,
                body_optional=True,
                returns=Conversation,
                status=201,
                summary="Begin an empty conversation.",
                tag="conversations",
            ),
            Route(
                method="GET",
                path="/api/v1/conversations/search",
                handler=self.search,
                query=SearchQuery,
                returns=FoundPage,
                summary="Messages that have every word of a query, newest first.",
                tag="conversations",
            ),
            Route(
                method="GET",
                path="/api/v1/conversations/{id}",
                handler=self.get,
                returns=ConversationWithMessages,
                summary="One conversation with the branch that is shown.",
                tag="conversations",
                statuses=NOT_FOUND,
            ),
            Route(
                method="PATCH",
                path="/api/v1/conversations/{id}",
                handler=self.change,
                body=ConversationChange,
                returns=Conversation,
                summary="Rename, tag, mark as favourite, or show another branch.",
                tag="conversations",
                statuses={404: "conversation_not_found, message_not_found"},
            ),
            Route(
                method="DELETE",
                path="/api/v1/conversations/{id}",
                handler=self.delete,
                status=204,
                summary="Remove a conversation with its messages, and what the streams of its turns said.",
                tag="conversations",
                statuses={**NOT_FOUND, 409: "conflict"},
            ),
            Route(
                method="POST",
                path="/api/v1/conversations/{id}/fork",
                handler=self.fork,
                body=Fork,
                body_optional=True,
                returns=Conversation,
                status=201,
                summary="Copy a branch into a conversation of its own.",
                tag="conversations",
                statuses={404: "conversation_not_found, message_not_found"},
            ),
            Route(
                method="GET",
                path="/api/v1/conversations/{id}/export",
                handler=self.export,
                query=ExportQuery,
                returns=Exported,
                media=("text/markdown",),
                summary="The conversation as a file: all of it as JSON, or what is shown as Markdown.",
                tag="conversations",
                statuses=NOT_FOUND,
            ),
        ]

    async def list(self, request: HttpRequest[None, ConversationsQuery]) -> Answer:
        query = request.query
        page = await self._conversations.page(
            request.principal,
            limit=query.limit,
            before=query.before,
            tag=query.tag,
            favourite=query.favourite,
            model=query.model,
        )
        page.conversations = [await self._claims.shown(request.principal, each) for each in page.conversations]
        return Answer(page)

    async def create(self, request: HttpRequest[ConversationCreate | None, Any]) -> Answer:
        body = request.body or ConversationCreate()
        created = await self._conversations.create(
            request.principal, title=body.title, tags=body.tags, favourite=body.favourite
        )
        return Answer(created, 201, {"Location": f"/api/v1/conversations/{created.id}"})

    async def search(self, request: HttpRequest[None, SearchQuery]) -> Answer:
        query = request.query
        return Answer(
            await self._history.search.page(request.principal, query.q, limit=query.limit, before=query.before)
        )

    async def get(self, request: HttpRequest[None, None]) -> Answer:
        found = await self._conversations.shown(request.principal, request.path["id"])
        return Answer(await self._claims.shown(request.principal, found))

    async def change(self, request: HttpRequest[ConversationChange, Any]) -> Answer:
        body = request.body
        changed = await self._conversations.change(
            request.principal,
            request.path["id"],
            title=body.title,
            tags=body.tags,
            favourite=body.favourite,
            leaf=body.leaf,
        )
        return Answer(await self._claims.shown(request.principal, changed))

    async def delete(self, request: HttpRequest[None, None]) -> Answer:
        id = request.path["id"]
        await self._conversations.get(request.principal, id)
        await self._conversations.delete(request.principal, id)
        return Answer(status=204)

    async def fork(self, request: HttpRequest[Fork | None, Any]) -> Answer:
        body = request.body or Fork()
        made = await self._history.messages.fork(request.principal, request.path["id"], body.message, body.title)
        return Answer(made, 201, {"Location": f"/api/v1/conversations/{made.id}"})

    async def export(self, request: HttpRequest[None, ExportQuery]) -> Answer:
        id = request.path["id"]
        if request.query.format == "markdown":
            shown = await self._conversations.shown(request.principal, id)
            document = markdown(shown, shown.messages).encode()
            return Answer(document, headers=_as_file(shown.id, "md"), content_type="text/markdown; charset=utf-8")
        conversation, messages = await self._conversations.whole(request.principal, id)
        exported = Exported(conversation=conversation, messages=messages)
        return Answer(exported, headers=_as_file(conversation.id, "json"))


def _as_file(id: str, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="conversation-{id}.{ending}"'}
