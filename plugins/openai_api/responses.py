"""`/v1/responses`: the same turn as `chat.send`, asked and answered in the dialect of OpenAI's Responses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import msgspec
from pydantic import Field

from engine.api import (
    Answer,
    Body,
    Commands,
    Conflict,
    EngineError,
    EventStream,
    HttpRequest,
    InvalidRequest,
    Principal,
    Result,
    Route,
    Said,
    SlowConsumer,
    StreamEnded,
    StreamExpired,
    StreamReader,
    WholeAnswer,
)
from engine.wire.apart import LARGE, MANY, apart_if
from engine.wire.bounds import MOST_NAMES, Name
from plugins.openai_api.errors import TURN_STATUSES
from plugins.openai_api.hints import Hints
from plugins.openai_api.naming import ModelNames
from plugins.openai_api.response import Asked, Item, Output, ResponseObject, output_of, status_of
from plugins.openai_api.responses_bodies import ResponsesBody
from plugins.openai_api.responses_errors import answer_error, told_here
from plugins.openai_api.responses_events import ResponsesEncoder
from plugins.openai_api.responses_items import References
from plugins.openai_api.responses_store import PreviousResponseNotFound, Responses
from plugins.openai_api.responses_translation import responses_send

# What a response repeats of its request.
_TOLD = (
    "background",
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)


class ResponseQuery(Body):
    """How a stored response is to be told."""

    model_config = {"strict": False}

    stream: bool = False
    starting_after: int | None = Field(default=None, ge=0, description="With stream: the last sequence_number seen.")
    include: list[Name] = Field(
        default_factory=list, max_length=MOST_NAMES, alias="include[]", description="Taken and not used."
    )
    include_obfuscation: bool | None = None


class InputItemsQuery(Body):
    """Which of the items, oldest or newest first."""

    model_config = {"strict": False}

    after: str | None = Field(default=None, max_length=100)
    limit: int = Field(default=20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    include: list[Name] = Field(
        default_factory=list, max_length=MOST_NAMES, alias="include[]", description="Taken and not used."
    )


class DeletedResponse(msgspec.Struct, kw_only=True):
    """Says that a response is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(msgspec.Struct, kw_only=True):
    """A page of what a response was asked."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseRoutes:
    """Starts the command in process: what runs here can be watched over the socket under the stream's id."""

    def __init__(self, commands: Commands, names: ModelNames, stored: Responses, *, strict: bool = False) -> None:
        self._commands = commands
        self._names = names
        self._stored = stored
        self._strict = strict
        self._references = References(commands, stored)

    def routes(self) -> list[Route]:
        """The routes of this file."""

        def about(method: str, path: str, handler: Any, summary: str, returns: type, **more: Any) -> Route:
            return Route(
                method=method,
                path=f"/v1/responses{path}",
                handler=handler,
                summary=summary,
                returns=returns,
                errors=answer_error,
                tag="openai",
                **more,
            )

        missing = {404: "response_not_found"}
        return [
            about(
                "POST",
                "",
                self.create,
                "A response in OpenAI's dialect: whole, as a stream of events, or in the background.",
                ResponseObject,
                body=ResponsesBody,
                events=True,
                statuses=TURN_STATUSES,
            ),
            about(
                "GET",
                "/{id}",
                self.one,
                "A stored response, or its events behind a number.",
                ResponseObject,
                query=ResponseQuery,
                events=True,
                statuses={**missing, 410: "stream_expired"},
            ),
            about("DELETE", "/{id}", self.delete, "Forget a stored response.", DeletedResponse, statuses=missing),
            about(
                "GET",
                "/{id}/input_items",
                self.input_items,
                "What a stored response was asked.",
                ItemList,
                query=InputItemsQuery,
                statuses=missing,
            ),
            about(
                "POST",
                "/{id}/cancel",
                self.cancel,
                "Stop a response that runs in the background.",
                ResponseObject,
                statuses=missing,
            ),
        ]

    async def create(self, request: HttpRequest[ResponsesBody, Any]) -> Result:
        principal = request.principal
        model = self._names.find(request.body.model)
        body = await self._references.resolved(principal, request.body)
        hints = Hints(strict=self._strict)
        # With `previous_response_id` the input is longer than what was sent.
        large = len(request.raw) > LARGE or (isinstance(body.input, list) and len(body.input) > MANY)
        sent, places = await apart_if(large, partial(responses_send, body, model.name, model.target, hints))
        sent |= await self._thread(principal, body.previous_response_id)
        try:
            reader = await self._commands.start(
                principal,
                "chat.send",
                sent,
                key=request.headers.get("idempotency-key"),
                # Nobody comes back for an answer of this dialect, unless it is one in the background.
                on_disconnect="continue" if body.background else "cancel",
            )
        except EngineError as error:
            raise told_here(error, places) from error.__cause__
        asked = _asked(body, model.target.name)
        try:
            if sent["store"]:
                asked = await self._kept(principal, reader.stream, asked, body)
            return await self._answer(reader, asked, body, hints.headers())
        except BaseException:
            reader.close()
            raise

    async def _kept(self, principal: Principal, stream: str, asked: Asked, body: ResponsesBody) -> Asked:
        """Store what is asked; gives what was stored the first time, where this is a retry under the same key."""
        return await self._stored.keep(principal, stream, asked, _items(body))

    async def _answer(
        self, reader: StreamReader, asked: Asked, body: ResponsesBody, headers: Mapping[str, str]
    ) -> Result:
        if body.stream:
            encoder = ResponsesEncoder(reader.stream, asked)
            return EventStream(reader, encoder, hold=not body.background, headers=headers)
        if body.background:
            response = asked.response(reader.stream, "in_progress", [])
            reader.close()
            return Answer(response, headers=headers)
        return await _whole(reader, asked, headers)

    async def _thread(self, principal: Principal, previous: str | None) -> dict[str, str]:
        """The conversation that a response goes on with, and after which of its messages."""
        if previous is None:
            return {}
        try:
            stored = await self._stored.find(principal, previous)
            reader = await self._commands.watch(principal, stored.stream)
        except EngineError as error:
            if error.status == 404:
                raise PreviousResponseNotFound(previous) from None
            raise
        reader.close()
        if reader.over is None:
            raise Conflict(
                f"response {previous} still runs; wait for its end, or cancel it", field="previous_response_id"
            )
        saved = reader.said.saved
        if saved is None:
            raise PreviousResponseNotFound(previous)
        return {"conversation": saved.conversation, "parent": saved.message}

    async def one(self, request: HttpRequest[Any, ResponseQuery]) -> Result:
        stored = await self._stored.find(request.principal, request.path["id"])
        query = request.query
        reader = await self._commands.watch(request.principal, stored.stream)
        if query.stream:
            encoder = ResponsesEncoder(stored.stream, stored.asked, after=query.starting_after)
            return EventStream(reader, encoder)
        reader.close()
        if query.starting_after is not None:
            raise InvalidRequest("starting_after goes with stream: true only", field="starting_after")
        return Answer(_standing(reader, stored.asked))

    async def delete(self, request: HttpRequest[Any, Any]) -> Answer:
        id = request.path["id"]
        stored = await self._stored.find(request.principal, id)
        # By its id it could not be stopped any more.
        reader = await self._commands.watch(request.principal, stored.stream)
        reader.cancel()
        try:
            # Its end writes down what it said: only then can that be removed.
            await reader.ended()
        finally:
            reader.close()
        await self._stored.delete(request.principal, id)
        return Answer(DeletedResponse(id=id))

    async def input_items(self, request: HttpRequest[Any, InputItemsQuery]) -> Answer:
        stored = await self._stored.find(request.principal, request.path["id"])
        query = request.query
        items = stored.input if query.order == "asc" else stored.input[::-1]
        ids = [item["id"] for item in items]
        if query.after is not None and query.after not in ids:
            raise InvalidRequest("after names no item of this response", field="after")
        begin = ids.index(query.after) + 1 if query.after is not None else 0
        page = items[begin : begin + query.limit]
        return Answer(
            ItemList(
                object="list",
                data=page,
                first_id=page[0]["id"] if page else None,
                last_id=page[-1]["id"] if page else None,
                has_more=begin + query.limit < len(items),
            )
        )

    async def cancel(self, request: HttpRequest[Any, Any]) -> Answer:
        stored = await self._stored.find(request.principal, request.path["id"])
        if not stored.asked.told.get("background"):
            raise InvalidRequest(
                "only a response in the background can be cancelled; leave any other one by hanging up"
            )
        reader = await self._commands.watch(request.principal, stored.stream)
        try:
            reader.cancel()
            await reader.ended()
            return Answer(_standing(reader, stored.asked))
        finally:
            reader.close()


def _asked(body: ResponsesBody, model: str) -> Asked:
    told = body.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(_TOLD))
    return Asked(model=model, created_at=int(time.time()), told=told)


def _items(body: ResponsesBody) -> list[Item]:
    if isinstance(body.input, str):
        content = [{"type": "input_text", "text": body.input}]
        return [{"type": "message", "role": "user", "status": "completed", "content": content}]
    return [_item(item.model_dump(mode="json", by_alias=True, exclude_none=True)) for item in body.input or ()]


def _item(item: Item) -> Item:
    """An item in the form in which it is listed: words of a message as a part."""
    item = {"status": "completed", **item}
    if item["type"] != "message" or not isinstance(item["content"], str):
        return item
    kind = "output_text" if item["role"] == "assistant" else "input_text"
    return {**item, "content": [{"type": kind, "text": item["content"]}]}


def _standing(reader: StreamReader, asked: Asked) -> ResponseObject:
    """A response as it stands now."""
    ended = reader.over
    status = status_of(ended) if ended is not None else "in_progress"
    return asked.response(reader.stream, status, output_of(reader.stream, reader.said, asked.custom_tools), ended)


async def _whole(reader: StreamReader, asked: Asked, headers: Mapping[str, str]) -> WholeAnswer:
    output = Output(reader.stream, asked.custom_tools)
    try:
        async for _, event in reader:
            output.add(event)
        output.end()
    except (SlowConsumer, StreamExpired):
        output.items = []  # what is no longer held event by event is known as a whole

    def build(said: Said, ended: StreamEnded) -> Answer:
        items = output.items or output_of(reader.stream, said, asked.custom_tools)
        return Answer(asked.response(reader.stream, status_of(ended), items, ended), headers=headers)

    return WholeAnswer(reader, build)
