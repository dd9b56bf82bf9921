"""The local model as a chat provider: the OpenAI-compatible adapter over the supervised server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar

import aiohttp
import msgspec

from engine.api.chat import ChatRequest, Message, TextPart
from engine.api.errors import ModelUnavailable
from engine.api.events import StatusChanged
from engine.api.plugin import Health, Shared
from engine.api.providers import ModelInfo, Price, ProviderRole, PushedAnswer
from plugins.local.model_file import chat_template, find_model_file
from plugins.local.settings import LocalSettings
from plugins.local.supervisor import LIBRARY, LlamaServer, require_library
from plugins.vendors.dialect import Dialect
from plugins.vendors.openai_compatible import Endpoint, OpenAICompatible

NAME = "local"
ANSWER_TOKENS = 1024
"""Bound of an answer whose request names none: without one a small model may go on to the end of its context."""

TEMPERATURE = 0.2

SAMPLER: Mapping[str, float] = {"repeat_penalty": 1.0, "dry_multiplier": 0.8, "dry_allowed_length": 3}
"""What keeps the packaged model on its subject, beside a low temperature.

A penalty on single tokens makes it break words and names; one on sequences (DRY) only ends its loops.
"""

SYSTEM = "You give short answers. Q: What is 1 + 1? A: 1 + 1 is 2. Q: What is the capital of Portugal? A: Lisbon."
"""What the packaged model is told where a request tells it nothing; the longer it speaks, the more it invents.

Sampler and line were chosen by `python -m bench.demo_model`.
"""

PACKAGED = (
    "SmolLM2, a demo model of 135M parameters; a better one: set a vendor's key (such as OPENAI_API_KEY), or name a GGUF "
    "file by plugins.local.model_path"
)
"""What clients read of the model that comes as a package."""

STILL_LOADING = 5.0
"""Seconds after which whoever waits for the model is told again that it loads."""

# The server closes its connection after each streamed answer without saying so; a pooled connection would be dead.
_DIALECT = Dialect(efforts=(), headers={"Connection": "close"})


class LocalChat:
    """Answers as `local`. While the model loads, callers wait and are told so."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME

    def __init__(self, settings: LocalSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self.server = LlamaServer(settings)
        self._settings = settings
        self._started = False
        self._adapter = OpenAICompatible(NAME, http, self._connect, dialect=_DIALECT, title="The local model")

    @property
    def unavailable(self) -> str | None:
        """What keeps the model from answering; a missing file or library is known before the start."""
        if self._started:
            state = self.server.state
            return state.detail if state.stage == "failed" else None
        try:
            require_library(LIBRARY)
            find_model_file(self._settings)
        except ModelUnavailable as error:
            return error.message
        return None

    def start(self) -> None:
        """Begin to load the model."""
        self._started = True
        self.server.start()

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model, within the bounds that its size asks for."""
        bounded = msgspec.structs.replace(
            request,
            messages=joined_answers(request.messages),
            max_output_tokens=request.max_output_tokens or ANSWER_TOKENS,
        )
        return self._adapter.stream(bounded if self._settings.model_path else guided(bounded))

    async def _connect(self) -> AsyncIterator[StatusChanged | Endpoint]:
        while (state := self.server.state).stage in ("loading", "restarting"):
            yield StatusChanged(stage="loading", detail=state.detail)
            try:
                async with asyncio.timeout(STILL_LOADING):
                    await self.server.changed()
            except TimeoutError:
                continue
        ready = await self.server.ready()
        yield Endpoint(ready.base_url, ready.api_key)

    def health(self) -> Health:
        """The model's line in `/health/ready`."""
        state = self.server.state
        match state.stage:
            case "ready":
                return Health("ok", state.detail)
            case "loading" | "restarting":
                return Health("loading", state.detail)
            case "failed":
                return Health("degraded", state.detail)


def guided(request: ChatRequest) -> ChatRequest:
    """A request as the packaged model answers it best, where the request says nothing else."""
    told = any(message.role in ("system", "developer") for message in request.messages)
    return msgspec.structs.replace(
        request,
        messages=request.messages if told else (Message(role="system", parts=(TextPart(SYSTEM),)), *request.messages),
        temperature=TEMPERATURE if request.temperature is None else request.temperature,
        provider_options={**SAMPLER, **request.provider_options},
    )


def joined_answers(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Answers that follow one another as one: llama.cpp refuses two at the end, and templates know turns only."""
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else None
        if before is not None and _is_answer(before) and _is_answer(message):
            text = "\n".join(filter(None, (before.text, message.text)))
            joined[-1] = msgspec.structs.replace(before, parts=(TextPart(text),))
        else:
            joined.append(message)
    return tuple(joined)


def _is_answer(message: Message) -> bool:
    words = all(isinstance(part, TextPart) for part in message.parts)
    return message.role == "assistant" and not message.tool_calls and words


def model_info(settings: LocalSettings) -> ModelInfo:
    """The catalogue's entry for the local model."""
    described = PACKAGED if settings.model_path is None else f"{settings.model_path.stem}, on this machine"
    return ModelInfo(
        id=NAME,
        provider=NAME,
        context=settings.context,
        capabilities=frozenset({"json_schema", "logprobs", *(("tools",) if _takes_tools(settings) else ())}),
        price=Price(),
        description=described,
    )


def _takes_tools(settings: LocalSettings) -> bool:
    """Whether the operator's own model was trained to call tools, as its template shows; the packaged one was not."""
    if settings.model_path is None:
        return False
    template = chat_template(settings.model_path.expanduser())
    return template is not None and "tools" in template
