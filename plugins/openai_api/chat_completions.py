"""`POST /v1/chat/completions`: the same turn as `chat.send`, asked and answered in OpenAI's dialect."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.api import (
    Answer,
    Commands,
    EventStream,
    HttpRequest,
    Result,
    Route,
    Said,
    StreamEnded,
    StreamReader,
    TextDelta,
    WholeAnswer,
)
from engine.wire.apart import LARGE, apart_if
from plugins.openai_api.chat_bodies import ChatCompletionsBody
from plugins.openai_api.chat_translation import chat_send
from plugins.openai_api.chunks import ChunkEncoder
from plugins.openai_api.completion import ChatCompletion, completion
from plugins.openai_api.errors import TURN_STATUSES, answer_error
from plugins.openai_api.hints import Hints
from plugins.openai_api.naming import ModelNames

Logprobs = Mapping[int, Sequence[Mapping[str, Any]]]


class ChatCompletions:
    """Starts the command in process: what runs here can be watched over the socket under the stream's id."""

    def __init__(self, commands: Commands, names: ModelNames, *, strict: bool = False) -> None:
        self._commands = commands
        self._names = names
        self._strict = strict

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="POST",
                path="/v1/chat/completions",
                handler=self.create,
                body=ChatCompletionsBody,
                returns=ChatCompletion,
                events=True,
                errors=answer_error,
                summary="Chat in OpenAI's dialect, as a stream of chunks or whole.",
                tag="openai",
                statuses=TURN_STATUSES,
            )
        ]

    async def create(self, request: HttpRequest[ChatCompletionsBody, Any]) -> Result:
        body = request.body
        model = self._names.find(body.model)
        hints = Hints(strict=self._strict)
        work = partial(chat_send, body, model.name, model.target, hints)
        sent = await apart_if(len(request.raw) > LARGE, work)
        # Nobody comes back for an answer of this dialect: who hangs up stops the model.
        reader = await self._commands.start(
            request.principal,
            "chat.send",
            sent,
            key=request.headers.get("idempotency-key"),
            on_disconnect="cancel",
        )
        asked = _Asked(model.target.name, int(time.time()), body.n or 1, hints.headers())
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            encoder = asked.encoder(reader.stream, include_usage=usage)
            return EventStream(reader, encoder, hold=True, headers=asked.headers)
        return await asked.whole(reader, logprobs=bool(body.logprobs))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an answer says of its request."""

    model: str
    created: int
    choices: int
    headers: Mapping[str, str]

    def encoder(self, stream: str, *, include_usage: bool) -> ChunkEncoder:
        return ChunkEncoder(stream, self.model, created=self.created, choices=self.choices, include_usage=include_usage)

    async def whole(self, reader: StreamReader, *, logprobs: bool) -> WholeAnswer:
        # What a stream has said does not tell apart the log probabilities of several choices; its events do.
        of_choices = await _logprobs(reader) if logprobs and self.choices > 1 else None

        def build(said: Said, ended: StreamEnded) -> Answer:
            of_first = {0: said.logprobs} if said.logprobs is not None else {}
            return Answer(
                completion(
                    reader.stream,
                    said,
                    ended,
                    model=self.model,
                    created=self.created,
                    choices=self.choices,
                    logprobs=of_first if of_choices is None else of_choices,
                ),
                headers=self.headers,
            )

        return WholeAnswer(reader, build)


async def _logprobs(reader: StreamReader) -> Logprobs:
    """The log probabilities of each choice, once the stream has ended. Closes the reader when it cannot be read."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    try:
        async for _, event in reader:
            if isinstance(event, TextDelta) and event.logprobs is not None:
                found.setdefault(event.choice, []).extend(event.logprobs)
    except BaseException:
        reader.close()
        raise
    return found
