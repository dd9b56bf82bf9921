"""All streams of this process: opened, found, ended, and forgotten in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from engine.api.errors import StreamNotFound
from engine.api.events import Event, StreamEnded
from engine.api.identity import Principal
from engine.api.ids import random_hex
from engine.bus.log import Log, MemoryLog
from engine.bus.stream import ANSWER_CHARACTERS, Stream, Token


def new_stream_id() -> str:
    """An id that nobody can guess: 96 random bits."""
    return f"s_{random_hex(12)}"


class Bus:
    """Streams by id. Ended ones stay for `keep` seconds and share `memory` bytes, the oldest leaving first.

    `stream_bytes` bounds what a live stream holds for its readers, `answer_characters` its output. `clock` counts seconds
    and never goes back.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        stream_bytes: int = 1 << 20,
        memory: int = 16 << 20,
        keep: float = 300.0,
        answer_characters: int = ANSWER_CHARACTERS,
        log: Callable[[int], Log] = MemoryLog,
    ) -> None:
        self._clock = clock
        self._stream_bytes = stream_bytes
        self._memory = memory
        self._keep = keep
        self._answer_characters = answer_characters
        self._log = log
        self._number = 0
        self._live: dict[str, Stream] = {}
        self._ended: OrderedDict[str, tuple[Stream, float]] = OrderedDict()
        self._ended_bytes = 0
        self._forgotten: set[str] = set()

    def open(self, principal: Principal, kind: str, id: str | None = None) -> Token:
        """Open a stream and give the right to write it."""
        self._number = self._number % 0xFFFFFFFF + 1
        stream = Stream(
            id or new_stream_id(),
            self._number,
            principal,
            kind,
            self._log(self._stream_bytes),
            self._clock(),
            self._answer_characters,
        )
        self._live[stream.id] = stream
        return stream.grant()

    def publish(self, token: Token, event: Event) -> int:
        """Write one event with the current token; gives its number."""
        return token.stream.publish(token, event)

    def handover(self, token: Token) -> Token:
        """Pass the right on: the old token is dead at this instant."""
        token.stream.owned(token)
        return token.stream.grant()

    def end(self, token: Token, event: StreamEnded) -> int:
        """Write the terminal event; the stream stays readable until its memory or its time is up."""
        stream = token.stream
        n = stream.end(token, event)
        del self._live[stream.id]
        if stream.id in self._forgotten:
            self._forgotten.discard(stream.id)
            return n
        self._ended[stream.id] = stream, self._clock() + self._keep
        self._ended_bytes += stream.log.size
        self.sweep()
        return n

    def forget(self, id: str, principal: Principal) -> None:
        """Hold the caller's stream no longer: at once where it has ended, else from its end on."""
        held = self._ended.get(id)
        live = self._live.get(id)
        if held is not None and held[0].principal.id == principal.id:
            del self._ended[id]
            self._ended_bytes -= held[0].log.size
        elif live is not None and live.principal.id == principal.id:
            self._forgotten.add(id)

    def find(self, id: str, principal: Principal) -> Stream:
        """The stream of this id, if it is the caller's. Unknown and foreign ids look alike: `StreamNotFound`."""
        stream = self._live.get(id)
        if stream is None:
            self.sweep()
            held = self._ended.get(id)
            stream = held[0] if held else None
        if stream is None or stream.principal.id != principal.id:
            raise StreamNotFound(f"there is no stream {id!r}")
        return stream

    def running(self, principal: Principal | None = None) -> Iterator[Stream]:
        """Streams that have not ended, oldest first: one caller's, or all."""
        return (s for s in self._live.values() if principal is None or s.principal.id == principal.id)

    def now(self) -> float:
        """Seconds on the clock of `Stream.started`."""
        return self._clock()

    def sweep(self) -> None:
        """Forget ended streams whose time is up or which no longer fit into memory."""
        now = self._clock()
        while self._ended:
            id, (stream, until) = next(iter(self._ended.items()))
            if until > now and self._ended_bytes <= self._memory:
                return
            del self._ended[id]
            self._ended_bytes -= stream.log.size

    @property
    def held(self) -> tuple[int, int, int]:
        """Live streams, ended streams still held, and the bytes of the latter."""
        return len(self._live), len(self._ended), self._ended_bytes
