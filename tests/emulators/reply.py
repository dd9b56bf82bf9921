"""What a test asks an emulator to answer, said once and rendered by every vendor in its own protocol."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]

Condition: TypeAlias = Literal[
    "bad_request",
    "context_too_long",
    "invalid_key",
    "permission",
    "model_not_found",
    "not_found",
    "too_large",
    "rate_limit",
    "quota",
    "server",
    "overloaded",
]


class Hold:
    """A place in a reply where the emulator waits until the test calls `release`."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def reached(self, timeout: float = 5.0) -> None:
        """Return once the emulator stands here, so all that comes before is written; TimeoutError after `timeout` s."""
        async with asyncio.timeout(timeout):
            await self._reached.wait()

    async def wait(self) -> None:
        self._reached.set()
        await self._released.wait()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a reply. `input` contains `cached` and `cache_write`, `output` contains `reasoning`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Citation:
    """A web source of the text from character `start` to `end` (default: the whole text)."""

    url: str
    title: str = ""
    quote: str = ""
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong: a reply of its own, or a place among the `pieces` of a `Say`.

    `after` counts server-sent events. With `after=0` a cut or a silence comes before the status line.
    A fault as a reply breaks into `say`, by default into the echo of the last user text.
    """

    kind: Literal["status", "cut", "malformed", "silence", "error_event"]
    after: int = 0
    say: "Say | None" = None
    code: int | None = None
    condition: Condition | None = None
    retry_after: float | None = None
    body: Mapping[str, Any] | str | None = None
    message: str | None = None

    @classmethod
    def status(
        cls,
        code: int,
        *,
        retry_after: float | None = None,
        body: Mapping[str, Any] | str | None = None,
        message: str | None = None,
    ) -> "Fault":
        """Answer HTTP `code` in the vendor's error shape, or with `body` as it stands (a str is sent as HTML)."""
        return cls("status", code=code, retry_after=retry_after, body=body, message=message)

    @classmethod
    def because(cls, condition: Condition, *, retry_after: float | None = None, message: str | None = None) -> "Fault":
        """Answer the status, code and body that the vendor has for `condition`."""
        return cls("status", condition=condition, retry_after=retry_after, message=message)

    @classmethod
    def cut(cls, after: int = 0, say: "Say | None" = None) -> "Fault":
        """Close the connection in the middle of the answer."""
        return cls("cut", after=after, say=say)

    @classmethod
    def malformed(cls, after: int = 0, say: "Say | None" = None) -> "Fault":
        """Send an event whose data is not JSON, and end the body."""
        return cls("malformed", after=after, say=say)

    @classmethod
    def silence(cls, after: int = 0, say: "Say | None" = None) -> "Fault":
        """Stay open and say nothing until the client leaves."""
        return cls("silence", after=after, say=say)

    @classmethod
    def error_event(
        cls,
        after: int = 0,
        say: "Say | None" = None,
        *,
        condition: Condition = "server",
        message: str | None = None,
    ) -> "Fault":
        """Report `condition` inside a stream that had begun with 200, as the vendor does, and end the body."""
        return cls("error_event", after=after, say=say, condition=condition, message=message)

    @classmethod
    def refuse(cls) -> "Fault":
        """Take the request and close the connection without a byte; for a closed port see `Emulator.refusing`."""
        return cls("cut")


Piece: TypeAlias = str | Hold | Fault


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call by the model. `arguments` as a str is sent as it stands, so that it may be broken JSON."""

    id: str
    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    pieces: Sequence[Piece] = ()

    @property
    def json(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)

    @property
    def deltas(self) -> Sequence[Piece]:
        """The argument text as it is streamed: `pieces`, else two halves."""
        half = len(self.json) // 2
        return self.pieces or [part for part in (self.json[:half], self.json[half:]) if part]


@dataclass(frozen=True, slots=True)
class Say:
    """A good answer. `pieces` (and `reasoning` given as a list) fix the deltas; without, one delta per word.

    Fields a protocol has no place for are left out of it. `alternatives` are the further choices when the request
    asks for several. `join` sends all events up to the next hold or fault in one TCP write. `start` holds the
    answer back before its status line. `paused` breaks off while the vendor's own tools work: it wants to be asked again.
    `extra` adds top-level fields to what the vendor answers.
    """

    text: str = ""
    pieces: Sequence[Piece] = ()
    reasoning: str | Sequence[Piece] = ""
    signature: str = "c2lnbmVk"
    tool_calls: Sequence[ToolUse] = ()
    citations: Sequence[Citation] = ()
    refusal: str = ""
    usage: Usage | None = None
    finish: Finish | None = None
    paused: bool = False
    alternatives: Sequence["Say"] = ()
    join: bool = False
    start: Hold | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text_deltas(self) -> Sequence[Piece]:
        return self.pieces or words(self.text)

    @property
    def reasoning_deltas(self) -> Sequence[Piece]:
        return words(self.reasoning) if isinstance(self.reasoning, str) else self.reasoning

    @property
    def full_text(self) -> str:
        return text_of(self.text_deltas)

    @property
    def full_reasoning(self) -> str:
        return text_of(self.reasoning_deltas)

    @property
    def finished(self) -> Finish:
        return self.finish or ("tool_calls" if self.tool_calls else "content_filter" if self.refusal else "stop")

    def tokens(self, prompt: str) -> Usage:
        """The scripted usage, else one token per word of `prompt` and of the answer."""
        if self.usage is not None:
            return self.usage
        reasoning = len(self.full_reasoning.split())
        return Usage(len(prompt.split()), len(self.full_text.split()) + reasoning, reasoning=reasoning)


def words(text: str) -> list[str]:
    """Cut `text` after each space, so that joining gives it back."""
    parts = text.split(" ")
    return [part for part in (*(f"{word} " for word in parts[:-1]), parts[-1]) if part]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str))
