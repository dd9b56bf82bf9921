"""`/api/v1/conversations/{id}/messages`: list, read, edit and delete."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.api.routes import Answer, HttpRequest, Route
from plugins.chat.history.bodies import MessageEdit, MessagesQuery, MessageTruncate
from plugins.chat.history.records import Conversation, StoredMessage
from plugins.chat.history.store import History

NOT_FOUND = {404: "conversation_not_found, message_not_found"}


class MessageList(msgspec.Struct):
    """Messages of a conversation, each after its parent."""

    messages: list[StoredMessage]


class MessageRoutes:
    """Handlers for the messages of a conversation."""

    def __init__(self, history: History) -> None:
        self._messages = history.messages
        self._claims = history.claims

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/conversations/{id}/messages",
                handler=self.list,
                query=MessagesQuery,
                returns=MessageList,
                summary="The branch that is shown, or all branches.",
                tag="conversations",
                statuses={404: "conversation_not_found"},
            ),
            Route(
                method="GET",
                path="/api/v1/conversations/{id}/messages/{message}",
                handler=self.get,
                returns=StoredMessage,
                summary="One message.",
                tag="conversations",
                statuses=NOT_FOUND,
            ),
            Route(
                method="PATCH",
                path="/api/v1/conversations/{id}/messages/{message}",
                handler=self.edit,
                body=MessageEdit,
                returns=StoredMessage,
                summary="Write other words beside a message, as a new branch that is shown from now on.",
                tag="conversations",
                statuses=NOT_FOUND,
            ),
            Route(
                method="POST",
                path="/api/v1/conversations/{id}/messages/{message}/truncate",
                handler=self.truncate,
                body=MessageTruncate,
                returns=StoredMessage,
                summary="Keep of an answer only what was heard.",
                tag="conversations",
                statuses=NOT_FOUND,
            ),
            Route(
                method="DELETE",
                path="/api/v1/conversations/{id}/messages/{message}",
                handler=self.delete,
                returns=Conversation,
                summary="Remove a message and all that follows it, and what the streams of those turns said.",
                tag="conversations",
                statuses={**NOT_FOUND, 409: "conflict"},
            ),
        ]

    async def list(self, request: HttpRequest[None, MessagesQuery]) -> Answer:
        read = self._messages.tree if request.query.view == "tree" else self._messages.branch
        return Answer(MessageList(await read(request.principal, request.path["id"])))

    async def get(self, request: HttpRequest[None, None]) -> Answer:
        return Answer(await self._messages.get(request.principal, request.path["id"], request.path["message"]))

    async def edit(self, request: HttpRequest[MessageEdit, Any]) -> Answer:
        path = request.path
        return Answer(await self._messages.edit(request.principal, path["id"], path["message"], request.body.text))

    async def truncate(self, request: HttpRequest[MessageTruncate, Any]) -> Answer:
        path = request.path
        return Answer(await self._messages.truncate(request.principal, path["id"], path["message"], request.body.heard))

    async def delete(self, request: HttpRequest[None, None]) -> Answer:
        id, message = request.path["id"], request.path["message"]
        await self._messages.get(request.principal, id, message)
        left = await self._messages.delete(request.principal, id, message)
        return Answer(await self._claims.shown(request.principal, left))
