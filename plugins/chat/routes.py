"""`POST /api/v1/chat` and `/api/v1/models`: the same turns and the same models over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.api.errors import EngineError, ErrorBody, InvalidRequest
from engine.api.events import Citation, Cost, FinishReason, Status, StreamEnded, ToolCall, Usage
from engine.api.plugin import PluginContext
from engine.api.providers import ModelInfo, Price, Providers
from engine.api.routes import Answer, EventStream, HttpRequest, Result, Route, WholeAnswer
from engine.api.streams import OnDisconnect, Said, parse_on_disconnect
from plugins.chat.bodies import ChatPost, ChatSend


class ChatAnswer(msgspec.Struct, kw_only=True):
    """A whole answer as JSON."""

    stream: str
    status: Status
    finish_reason: FinishReason | None
    text: str
    message: str | None
    conversation: str | None
    model: str | None
    usage: Usage | None
    cost: Cost | None
    tool_calls: list[ToolCall]
    reasoning: str | None = None
    citations: list[Citation] = []
    choices: list[str] = []
    error: ErrorBody | None = None
    saved: bool | None = None
    """Whether the end of the turn is written down; false while the database is away."""


class Model(msgspec.Struct, kw_only=True):
    """A model that can be used now. `context` and `max_output` are in tokens, prices in US dollars for a million of them."""

    id: str
    provider: str
    role: str
    aliases: list[str]
    context: int | None
    max_output: int | None
    capabilities: list[str]
    price: Price | None
    description: str


class Models(msgspec.Struct):
    """The catalogue, as far as it can be used now. `default` answers when a client names none; null where none can."""

    models: list[Model]
    default: str | None = None


class ChatRoutes:
    """Handlers over the command table: HTTP has no path of its own to a provider."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="POST",
                path="/api/v1/chat",
                handler=self.chat,
                body=ChatPost,
                returns=ChatAnswer,
                events=True,
                summary="One turn: a whole answer as JSON, or its events.",
                tag="chat",
                statuses={
                    409: "conflict, idempotency_conflict",
                    429: "the vendor's limit",
                    502: "provider_error and its kin",
                    503: "model_unavailable",
                    504: "provider_timeout",
                },
            ),
            Route(
                method="GET",
                path="/api/v1/models",
                handler=self.models,
                returns=Models,
                summary="The models that can be used now.",
                tag="models",
            ),
        ]

    async def chat(self, request: HttpRequest[ChatPost, Any]) -> Result:
        body = request.body
        more = {}
        if not request.wants_events and body.tools:
            if body.client_tools == "wait":
                raise InvalidRequest(
                    "a plain JSON answer cannot wait for tool results; ask for text/event-stream, or say return",
                    field="client_tools",
                )
            # Said only where it matters, so that the same request over another transport is the same under one key.
            more = {"client_tools": "return"}
        policy: OnDisconnect = parse_on_disconnect(body.on_disconnect)
        key = request.headers.get("idempotency-key", body.key)
        reader = await self._context.commands.start(
            request.principal, "chat.send", as_command(body, more), key=key, on_disconnect=policy
        )
        if request.wants_events:
            return EventStream(reader)
        return WholeAnswer(reader, lambda said, ended: Answer(_answer(reader.stream, said, ended)))

    async def models(self, request: HttpRequest[Any, Any]) -> Answer:
        providers = self._context.providers
        return Answer(Models([_model(info) for info in providers.models()], default=_default(providers)))


def as_command(body: ChatPost, more: Mapping[str, Any]) -> ChatSend:
    """The command that a post stands for, with `more` set; checked once, it is not checked again."""
    told = body.model_fields_set & ChatSend.model_fields.keys()
    values = {name: getattr(body, name) for name in ChatSend.model_fields}
    return ChatSend.model_construct(_fields_set={*told, *more}, **{**values, **more})


def _answer(stream: str, said: Said, ended: StreamEnded) -> ChatAnswer:
    return ChatAnswer(
        stream=stream,
        status=ended.status,
        finish_reason=ended.finish_reason,
        text=said.text,
        message=said.saved.message if said.saved else None,
        conversation=said.saved.conversation if said.saved else None,
        model=ended.model,
        usage=ended.usage,
        cost=ended.cost,
        tool_calls=list(said.tool_calls),
        reasoning=said.reasoning or None,
        citations=list(said.citations),
        choices=list(said.choices),
        error=ended.error,
        saved=ended.saved,
    )


def _default(providers: Providers) -> str | None:
    """The id of the model that answers where none is named, or its full name where the catalogue does not have it."""
    try:
        first, *_ = providers.chat(None).targets
    except EngineError:
        return None
    return first.info.id if first.info is not None else first.name


def _model(info: ModelInfo) -> Model:
    return Model(
        id=info.id,
        provider=info.provider,
        role=info.role,
        aliases=list(info.aliases),
        context=info.context,
        max_output=info.max_output,
        capabilities=sorted(info.capabilities),
        price=info.price,
        description=info.description,
    )
