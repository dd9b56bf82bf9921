"""`/api/v1/prompts`: texts saved for later."""

from __future__ import annotations

from typing import Any

from engine.api.routes import Answer, HttpRequest, Route
from plugins.chat.history.bodies import PromptChange, PromptCreate, PromptsQuery
from plugins.chat.history.prompts import Prompt, PromptPage, Prompts

NOT_FOUND = {404: "prompt_not_found"}


class PromptRoutes:
    """Handlers for saved prompts."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/prompts",
                handler=self.list,
                query=PromptsQuery,
                returns=PromptPage,
                summary="The caller's saved prompts, the one that changed last first.",
                tag="prompts",
            ),
            Route(
                method="POST",
                path="/api/v1/prompts",
                handler=self.create,
                body=PromptCreate,
                returns=Prompt,
                status=201,
                summary="Save a prompt.",
                tag="prompts",
            ),
            Route(
                method="GET",
                path="/api/v1/prompts/{id}",
                handler=self.get,
                returns=Prompt,
                summary="One saved prompt.",
                tag="prompts",
                statuses=NOT_FOUND,
            ),
            Route(
                method="PATCH",
                path="/api/v1/prompts/{id}",
                handler=self.change,
                body=PromptChange,
                returns=Prompt,
                summary="Change a saved prompt.",
                tag="prompts",
                statuses=NOT_FOUND,
            ),
            Route(
                method="DELETE",
                path="/api/v1/prompts/{id}",
                handler=self.delete,
                status=204,
                summary="Remove a saved prompt.",
                tag="prompts",
                statuses=NOT_FOUND,
            ),
        ]

    async def list(self, request: HttpRequest[None, PromptsQuery]) -> Answer:
        query = request.query
        return Answer(
            await self._prompts.page(request.principal, limit=query.limit, before=query.before, tag=query.tag)
        )

    async def create(self, request: HttpRequest[PromptCreate, Any]) -> Answer:
        body = request.body
        prompt = await self._prompts.create(request.principal, title=body.title, text=body.text, tags=body.tags)
        return Answer(prompt, 201, {"Location": f"/api/v1/prompts/{prompt.id}"})

    async def get(self, request: HttpRequest[None, None]) -> Answer:
        return Answer(await self._prompts.get(request.principal, request.path["id"]))

    async def change(self, request: HttpRequest[PromptChange, Any]) -> Answer:
        body = request.body
        return Answer(
            await self._prompts.change(
                request.principal, request.path["id"], title=body.title, text=body.text, tags=body.tags
            )
        )

    async def delete(self, request: HttpRequest[None, None]) -> Answer:
        await self._prompts.delete(request.principal, request.path["id"])
        return Answer(status=204)
