"""`POST /v1/messages` and its `/count_tokens`: the same turn as `chat.send`, asked and answered in Anthropic's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from engine.api import (
    Answer,
    Commands,
    EngineError,
    EventStream,
    HttpRequest,
    Result,
    Route,
    Said,
    SlowConsumer,
    StreamEnded,
    StreamExpired,
    StreamReader,
    TokenCounter,
    WholeAnswer,
)
from engine.wire.apart import LARGE, apart_if
from plugins.openai_api.counting import estimated_tokens
from plugins.openai_api.errors import TURN_STATUSES
from plugins.openai_api.hints import Hints
from plugins.openai_api.message import AnthropicMessage, Content, message
from plugins.openai_api.messages_bodies import CountTokensBody, MessagesBody
from plugins.openai_api.messages_errors import answer_error, told_here
from plugins.openai_api.messages_events import PING, MessagesEncoder
from plugins.openai_api.messages_translation import DIALECT, Translation, messages_send
from plugins.openai_api.naming import ModelNames, Named

ESTIMATED = "X-BetterAI-Estimated"


class TokenCount(msgspec.Struct):
    """Tokens of a request's input."""

    input_tokens: int


class Messages:
    """Starts the command in process: what runs here can be watched over the socket under the stream's id."""

    def __init__(self, commands: Commands, names: ModelNames, *, strict: bool = False) -> None:
        self._commands = commands
        self._names = names
        self._strict = strict

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="POST",
                path="/v1/messages",
                handler=self.create,
                body=MessagesBody,
                returns=AnthropicMessage,
                events=True,
                errors=answer_error,
                summary="Chat in Anthropic's dialect, as a stream of events or whole.",
                tag="anthropic",
                statuses=TURN_STATUSES,
            ),
            Route(
                method="POST",
                path="/v1/messages/count_tokens",
                handler=self.count_tokens,
                body=CountTokensBody,
                returns=TokenCount,
                errors=answer_error,
                summary="Tokens of a request: counted by Anthropic for its own models, estimated for others.",
                tag="anthropic",
                statuses={
                    404: "model_not_found, feature_disabled",
                    502: "provider_error and its kin",
                    503: "model_unavailable",
                },
            ),
        ]

    async def create(self, request: HttpRequest[MessagesBody, Any]) -> Result:
        body = request.body
        model, hints = self._model(body)
        large = len(request.raw) > LARGE
        native = None
        if model.target.speaks(DIALECT):
            native = {**await apart_if(large, partial(worded, request)), "model": model.target.model}
        work = partial(messages_send, body, model.name, model.target, hints, native)
        sent, places = await apart_if(large, work)
        tokens = await apart_if(large, partial(estimated_tokens, sent)) if body.stream else 0
        try:
            # Nobody comes back for an answer of this dialect: who hangs up stops the model.
            reader = await self._commands.start(
                request.principal,
                "chat.send",
                sent,
                key=request.headers.get("idempotency-key"),
                on_disconnect="cancel",
            )
        except EngineError as error:
            raise told_here(error, places) from error.__cause__
        headers = {"request-id": request.id, **hints.headers()}
        if body.stream:
            encoder = MessagesEncoder(reader.stream, model.target.name, input_tokens=tokens)
            return EventStream(reader, encoder, hold=True, headers=headers, keep_alive=PING)
        return await _whole(reader, model.target.name, headers)

    async def count_tokens(self, request: HttpRequest[CountTokensBody, Any]) -> Answer:
        body = request.body
        model, hints = self._model(body)
        counter = model.target.provider
        large = len(request.raw) > LARGE
        headers = {"request-id": request.id}
        if model.target.speaks(DIALECT) and isinstance(counter, TokenCounter):
            native = await apart_if(large, partial(worded, request))
            return Answer(
                TokenCount(await counter.count_tokens(model.target.model, native)),
                headers={**headers, **hints.headers()},
            )
        estimate = await apart_if(large, partial(_estimate, Translation(body, model.target, hints)))
        return Answer(TokenCount(estimate), headers={**headers, **hints.headers(), ESTIMATED: "true"})

    def _model(self, body: CountTokensBody) -> tuple[Named, Hints]:
        """The model that a body names; the size of its context is its vendor's affair."""
        model, window = self._names.find_in_window(body.model)
        hints = Hints(strict=self._strict)
        if window:
            hints.drop(f"model{window}")
        return model, hints


def _estimate(translation: Translation) -> int:
    translation.judge()
    return estimated_tokens({"input": translation.messages(), **translation.settings()})


def worded(request: HttpRequest[Any, Any]) -> Mapping[str, Any]:
    """The request as it came, with the features in trial that its header asks for."""
    body: dict[str, Any] = msgspec.json.decode(request.raw)
    betas = [each.strip() for each in request.headers.get("anthropic-beta", "").split(",") if each.strip()]
    return {**body, "betas": betas} if betas else body


async def _whole(reader: StreamReader, model: str, headers: Mapping[str, str]) -> WholeAnswer:
    content = Content()
    try:
        async for _, event in reader:
            content.add(event)
    except (SlowConsumer, StreamExpired):
        content = Content()  # what is no longer held event by event is known as a whole
    except BaseException:
        reader.close()
        raise

    def build(said: Said, ended: StreamEnded) -> Answer:
        return Answer(message(reader.stream, model, content.whole(said), ended), headers=headers)

    return WholeAnswer(reader, build)
