"""A conversation by voice, both ways at once: what a provider is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from engine.api.chat import FunctionTool
from engine.api.errors import EngineError, ErrorBody
from engine.api.events import Cost, Event, ToolCall, Usage
from engine.api.streams import Writer

REALTIME_RATE = 24_000
"""Samples a second that a realtime provider is given, unless its `rate` says otherwise: mono, 16 bits, little-endian."""

Modality = Literal["audio", "text"]


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """How the end of what a person says is found: by silence, by silence and the shape of the words, or by the client.

    `threshold` is the probability of speech, 0 to 1, from which sound is speech. `prefix_padding_ms` of sound before the
    beginning belong to the speech, and it is over after `silence_duration_ms`. `interrupt` lets speech stop the answer,
    `answer` has every turn answered unasked.
    """

    type: Literal["server_vad", "semantic", "manual"] = "server_vad"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    interrupt: bool = True
    answer: bool = True


class RealtimePast(msgspec.Struct, frozen=True, kw_only=True):
    """What was said before: one message of the conversation that goes on."""

    role: Literal["user", "assistant", "system"]
    text: str


class RealtimeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How to converse. `model` is the vendor's own name of it; `voice` None is the provider's own choice.

    `options` are those of the command that only a provider of this machine's own pipeline reads, `provider_options` go to
    the vendor as they are. `translate_to` asks for an interpreter: a BCP 47 tag. `max_output_tokens` bounds each answer, as
    the client wants it or as a budget can pay for it; a smaller bound among the options stays.
    """

    model: str
    voice: str | None = None
    instructions: str | None = None
    language: str | None = None
    turn_detection: TurnDetection = TurnDetection()
    modalities: frozenset[Modality] = frozenset({"audio"})
    tools: Sequence[FunctionTool] = ()
    past: Sequence[RealtimePast] = ()
    conversation: str | None = None
    store: bool = True
    translate_to: str | None = None
    options: Mapping[str, Any] = {}
    provider_options: Mapping[str, Any] = {}
    max_output_tokens: int | None = None


class RealtimeAudio(msgspec.Struct, frozen=True, gc=False):
    """A piece of what the person says, with as many samples a second as the provider hears."""

    pcm: bytes


class RealtimeText(msgspec.Struct, frozen=True, gc=False):
    """Something said in writing; it is answered when `RealtimeAnswer` follows. `item` is what its client calls it."""

    text: str
    role: Literal["user", "system", "assistant"] = "user"
    item: str | None = None


class RealtimeForget(msgspec.Struct, frozen=True, gc=False):
    """One thing that was said is to be forgotten: a text by its `item`, what the person said by its `turn`, or an answer by
    the stream that made it. Only a provider with `forgets` is told."""

    item: str | None = None
    turn: int | None = None
    answer: str | None = None


class RealtimeCommit(msgspec.Struct, frozen=True, gc=False):
    """The client says that the person has finished; what was spoken since is one turn."""


class RealtimeClear(msgspec.Struct, frozen=True, gc=False):
    """What was spoken and is no finished turn yet is to be forgotten."""


class RealtimeAnswer(msgspec.Struct, frozen=True, gc=False):
    """Answer now what was said. `instructions` are for this answer alone."""

    instructions: str | None = None


class RealtimeInterrupt(msgspec.Struct, frozen=True, gc=False):
    """The answer is to stop at once. `heard` is how much of its sound was played, in milliseconds; `text` the words of it."""

    heard: int
    text: str


class RealtimeToolResult(msgspec.Struct, frozen=True):
    """What the client's tool answered to a call."""

    call_id: str
    output: str
    error: bool = False


class RealtimeUpdate(msgspec.Struct, frozen=True):
    """The conversation goes on in another way; the whole request as it is now."""

    request: RealtimeRequest


RealtimeInput: TypeAlias = (
    RealtimeAudio
    | RealtimeText
    | RealtimeForget
    | RealtimeCommit
    | RealtimeClear
    | RealtimeAnswer
    | RealtimeInterrupt
    | RealtimeToolResult
    | RealtimeUpdate
)
"""What a provider is told while a conversation runs."""


class RealtimeStage(Protocol):
    """Where a realtime provider tells what happens. No method waits but `room`.

    What belongs to one answer comes between `answering` and `answered`, in the order in which it is to be heard.
    """

    @property
    def stream(self) -> Writer:
        """The call's stream: who calls, and the meter for models that the provider itself asks."""
        ...

    def speech_began(self, at: int | None = None) -> None:
        """The person began to speak; `at` is where in all `RealtimeAudio` of the conversation, in ms, where that is known."""
        ...

    def speech_ended(self, at: int | None = None) -> None:
        """The person has finished."""
        ...

    def heard(self, text: str, *, final: bool) -> None:
        """What the person says, from the beginning of the turn. A final one without words: it was no speech."""
        ...

    def answering(self) -> None:
        """An answer begins."""
        ...

    def text(self, text: str) -> None:
        """A piece of the answer's words."""
        ...

    def sound(self, pcm: bytes, rate: int, text: str = "") -> None:
        """A piece of the answer's sound. `text` are the words of the answer whose speaking begins with it, where known."""
        ...

    async def room(self) -> None:
        """Wait until little of the answer's sound waits to be played; who makes sound for money waits here before more."""
        ...

    def tool_call(self, call: ToolCall) -> None:
        """The model calls a tool; `RealtimeToolResult` brings what it answered."""
        ...

    def tool_cancelled(self, call_id: str) -> None:
        """The model wants no answer to this call any more."""
        ...

    def show(self, event: Event) -> None:
        """An event of the answer for whoever watches: a tool that the provider ran by itself, a citation, a status."""
        ...

    def answered(
        self,
        *,
        usage: Usage | None = None,
        cost: Cost | None = None,
        conversation: str | None = None,
        message: str | None = None,
        stream: str | None = None,
        error: EngineError | ErrorBody | None = None,
    ) -> None:
        """The answer is whole, or broke off by `error`.

        Where another turn made it, `stream` is that turn's, which has counted its `usage` and `cost`; else the usage is
        counted and priced here. `conversation` and `message` are where it is kept, if the provider has seen to that.
        """
        ...

    def seam(self, detail: str) -> None:
        """The vendor's session was lost or over, and a new one goes on in its place."""
        ...
