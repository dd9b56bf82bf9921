"""The events of a stream, as they go over the wire: few types, frozen, one spelling each."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api.errors import ErrorBody
from engine.api.transcription import Word


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn used. `cached_tokens` are part of `input_tokens`, `reasoning_tokens` part of `output_tokens`.

    `characters` were spoken and `seconds` of audio heard, in turns that speak or listen. `audio_input_tokens` and
    `audio_output_tokens` are part of input and output, where a model hears or speaks by itself, `audio_cached_tokens` part of
    those that are cached. `searches` are those of the web that the vendor ran, `written_tokens` the part of the input that it
    wrote into its prompt cache, and `written_hour_tokens` those of them that it keeps for an hour. `estimated` is true where
    the vendor gave no figures, as after a cancel or a kill.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    characters: int | msgspec.UnsetType = msgspec.UNSET
    seconds: float | msgspec.UnsetType = msgspec.UNSET
    audio_input_tokens: int | msgspec.UnsetType = msgspec.UNSET
    audio_output_tokens: int | msgspec.UnsetType = msgspec.UNSET
    audio_cached_tokens: int | msgspec.UnsetType = msgspec.UNSET
    searches: int | msgspec.UnsetType = msgspec.UNSET
    written_tokens: int | msgspec.UnsetType = msgspec.UNSET
    written_hour_tokens: int | msgspec.UnsetType = msgspec.UNSET

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
            characters=_sum(self.characters, other.characters),
            seconds=_sum(self.seconds, other.seconds),
            audio_input_tokens=_sum(self.audio_input_tokens, other.audio_input_tokens),
            audio_output_tokens=_sum(self.audio_output_tokens, other.audio_output_tokens),
            audio_cached_tokens=_sum(self.audio_cached_tokens, other.audio_cached_tokens),
            searches=_sum(self.searches, other.searches),
            written_tokens=_sum(self.written_tokens, other.written_tokens),
            written_hour_tokens=_sum(self.written_hour_tokens, other.written_hour_tokens),
        )


def _sum(one: Any, other: Any) -> Any:
    if one is msgspec.UNSET or other is msgspec.UNSET:
        return other if one is msgspec.UNSET else one
    return one + other


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Money as an exact decimal in a string."""

    amount: str
    currency: str = "USD"


Status = Literal["completed", "failed", "cancelled"]
Reason = Literal[
    "done",
    "provider_error",
    "internal",
    "client_cancel",
    "disconnect",
    "shutdown",
    "owner_lost",
    "log_unavailable",
]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Root of the numbered events; `type` on the wire is the tag of the class."""


class StreamStarted(Event, frozen=True, gc=False, tag="stream.started", kw_only=True):
    """First event of every stream; `model` is the name that was asked for."""

    model: str | None = None


class TextDelta(Event, frozen=True, gc=False, tag="text.delta"):
    """A piece of the answer. `choice` counts from 0 where `n` answers were asked for."""

    text: str
    choice: int = 0
    logprobs: list[dict[str, Any]] | None = None


class ReasoningDelta(Event, frozen=True, gc=False, tag="reasoning.delta"):
    """A piece of what the model thinks before it answers."""

    text: str


class ReasoningKept(Event, frozen=True, gc=False, tag="reasoning.kept", kw_only=True):
    """Thinking as its vendor wants it back with the next step, where the turn is not kept here and the client keeps it.

    It goes back as a part of type `reasoning` of the assistant's message, with the same fields.
    """

    provider: str
    text: str = ""
    signature: str | None = None
    id: str | None = None


class VendorPart(Event, frozen=True, gc=False, tag="vendor.part", kw_only=True):
    """A piece of the vendor's answer that no other event can say, as it came; only where the request was `native` too."""

    dialect: str
    part: dict[str, Any]


class ToolDelta(Event, frozen=True, gc=False, tag="tool.delta", kw_only=True):
    """A piece of the arguments of a call that the model is still writing.

    The pieces of one `call_id`, joined, are the `arguments` of the `tool.call` that follows; a call may come without any.
    """

    call_id: str
    name: str
    arguments: str
    choice: int = 0


class ToolCall(Event, frozen=True, gc=False, tag="tool.call", kw_only=True):
    """The model calls a tool. `arguments` is a JSON text; `client` says that the client is to answer with `tool.result`."""

    call_id: str
    name: str
    arguments: str
    client: bool = False
    choice: int = 0
    signature: str | None = None


class ToolResult(Event, frozen=True, gc=False, tag="tool.result", kw_only=True):
    """What a tool answered. `output` is what the model is told."""

    call_id: str
    name: str
    output: str
    error: ErrorBody | None = None


class ToolCancelled(Event, frozen=True, gc=False, tag="tool.cancelled", kw_only=True):
    """In a call: the model wants no answer to this call of a tool any more, and one that comes later is refused."""

    call_id: str
    name: str


class Citation(Event, frozen=True, gc=False, tag="citation", kw_only=True):
    """A source that the answer leans on; `start` and `end` count characters of the answer where the vendor says them."""

    url: str
    title: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None


class TranscriptPartial(Event, frozen=True, gc=False, tag="transcript.partial", kw_only=True):
    """What was heard so far of a stretch of speech; the next one, or the final one, stands in its place."""

    text: str
    start: float | None = None
    speaker: str | None = None


class TranscriptFinal(Event, frozen=True, gc=False, tag="transcript.final", kw_only=True):
    """A stretch of speech, heard to its end. Times are in seconds from the beginning of the audio."""

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    speaker: str | None = None
    language: str | None = None
    words: list[Word] | None = None


class UserStarted(Event, frozen=True, gc=False, tag="turn.user_started", kw_only=True):
    """In a call: the person begins to speak. `turn` counts from 1; `at` is the client's own media time of it, in ms.

    That is the time that its frames name, and else where in the audio that it sent. It is left out where a vendor says nothing.
    """

    turn: int
    at: int | None = None


class UserEnded(Event, frozen=True, gc=False, tag="turn.user_ended", kw_only=True):
    """In a call: the person has finished, or it was no speech; `at` as in `turn.user_started`."""

    turn: int
    at: int | None = None


class AssistantStarted(Event, frozen=True, gc=False, tag="turn.assistant_started", kw_only=True):
    """In a call: an answer begins to be heard; `at` is its media time on the lane, in ms."""

    turn: int
    at: int = 0


class AssistantEnded(Event, frozen=True, gc=False, tag="turn.assistant_ended", kw_only=True):
    """In a call: an answer was played, was interrupted (`cancelled`), or failed.

    `heard` is how much of its sound was played, in ms, and `text` the words of that. `conversation` and `message` are where
    it is kept. `usage` and `cost` are those of the answer; where `answered_by` names a stream, that one's end tells them too.
    """

    turn: int
    status: Status
    heard: int = 0
    text: str = ""
    conversation: str | None = None
    message: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    answered_by: str | None = None
    error: ErrorBody | None = None


class PlaybackClear(Event, frozen=True, gc=False, tag="playback.clear", kw_only=True):
    """Audio of the lane that came before this event and was not played yet is to be forgotten, at once."""

    lane: str


class StatusChanged(Event, frozen=True, gc=False, tag="status", kw_only=True):
    """Something a person who waits would like to know: `stage` is a stable word, `detail` a sentence."""

    stage: str
    detail: str | None = None


class LaneStarted(Event, frozen=True, gc=False, tag="lane.started", kw_only=True):
    """A lent lane opens; binary frames with lane number `number` belong to it. `rate` is in samples a second."""

    lane: str
    number: int
    format: str | None = None
    rate: int | None = None


class LaneEnded(Event, frozen=True, gc=False, tag="lane.ended", kw_only=True):
    """A lent lane is over; a failed lane does not fail its stream."""

    lane: str
    status: Status = "completed"
    error: ErrorBody | None = None


class Gap(Event, frozen=True, gc=False, tag="gap", kw_only=True):
    """The numbers `from` to `to` of a lane were dropped on purpose, as old audio is. `n` is the last of them."""

    lane: str
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")


class Audio(Event, frozen=True, gc=False, tag="audio", kw_only=True):
    """Audio of a lane; goes over the wire as a binary frame. `at` is media time in milliseconds."""

    lane: str
    data: bytes
    at: int = 0


class MessageSaved(Event, frozen=True, gc=False, tag="message.saved", kw_only=True):
    """The answer stands in the conversation's history."""

    conversation: str
    message: str


class StreamEnded(Event, frozen=True, gc=False, tag="stream.ended", kw_only=True):
    """Last event of every stream, exactly once, however it ended.

    `model` is the model that answered. `finish_reason` is that of the first choice, `finish_reasons` those of all where more
    than one was asked for. `saved` says whether the turn's record was committed.
    `extra` carries fields of the vendor's answer that the engine does not use.
    """

    status: Status
    reason: Reason
    finish_reason: FinishReason | None = None
    error: ErrorBody | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    saved: bool | None = None
    finish_reasons: list[FinishReason | None] | None = None
    extra: dict[str, Any] | None = None


EVENTS: tuple[type[Event], ...] = (
    StreamStarted,
    TextDelta,
    ReasoningDelta,
    ReasoningKept,
    ToolDelta,
    ToolCall,
    ToolResult,
    ToolCancelled,
    Citation,
    VendorPart,
    TranscriptPartial,
    TranscriptFinal,
    UserStarted,
    UserEnded,
    AssistantStarted,
    AssistantEnded,
    PlaybackClear,
    StatusChanged,
    LaneStarted,
    LaneEnded,
    Gap,
    Audio,
    MessageSaved,
    StreamEnded,
)
"""Every numbered event, in the order in which a reader may meet it."""
