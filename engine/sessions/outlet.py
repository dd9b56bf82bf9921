"""What a session sends: control frames, and the events of the streams that it watches, in one write per loop turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from engine.api.errors import EngineError, Internal, SlowConsumer
from engine.api.events import Audio, Event, Gap, LaneEnded, LaneStarted
from engine.bus.log import Entry
from engine.bus.stream import Cursor, Stream
from engine.log import get_logger
from engine.stats import Stats
from engine.wire.control import Frame, StreamDetached
from engine.wire.frames import BINARY, TEXT, encode_audio, encode_event, encode_json, join_deltas, websocket_header

log = get_logger(__name__)

HIGH_WATER = 256 << 10
"""Bytes that may wait in the socket's buffer before the session takes no more from its streams."""

CONTROL_LIMIT = 1 << 20
"""Bytes of control frames that may wait for a reader that does not read; past it the socket is closed."""

BATCH = 512
"""Entries taken from one stream in one flush, so that one fast stream does not hold up the others."""

_RETRY_FIRST, _RETRY_MOST = 0.005, 0.1

_SHORT = tuple(websocket_header(TEXT, size) for size in range(126))
"""Headers of the frames of a streaming answer, nearly all of which are this short."""


class Peer(Protocol):
    """The other end of a session, whatever carries it."""

    def write(self, data: bytes) -> None:
        """Send framed bytes; buffers what the network does not take."""
        ...

    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close with a WebSocket code."""
        ...


class Subscription:
    """One stream that a session watches. `sent` is the last number that its client was told of."""

    __slots__ = ("_outlet", "cursor", "dirty", "sent")

    def __init__(self, outlet: Outlet, stream: Stream, after: int) -> None:
        self._outlet = outlet
        self.dirty = False
        self.sent = after
        self.cursor = stream.subscribe(after, self._wake)
        if self.cursor.behind:
            self.wake()

    def wake(self) -> None:
        """Have the stream's next events sent."""
        self._wake(self.cursor)

    def _wake(self, _: Cursor) -> None:
        if not self.dirty:
            self.dirty = True
            outlet = self._outlet
            outlet._dirty.append(self)
            if not outlet._scheduled:
                outlet._scheduled = True
                outlet._loop.call_soon(outlet.flush)


class Outlet:
    """Collects frames and flushes them once per loop turn. A full socket stops the taking, never the publishing."""

    __slots__ = (
        "_control",
        "_control_bytes",
        "_dirty",
        "_loop",
        "_peer",
        "_retry",
        "_scheduled",
        "_stats",
        "_subscriptions",
        "_writable",
        "closed",
        "join",
        "lanes",
    )

    def __init__(self, peer: Peer, stats: Stats | None = None) -> None:
        self._peer = peer
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._control: list[bytes] = []
        self._control_bytes = 0
        self._dirty: list[Subscription] = []
        self._subscriptions: dict[str, Subscription] = {}
        self._scheduled = False
        self._retry = _RETRY_FIRST
        self._writable: asyncio.Future[None] | None = None
        self.closed = False
        self.join = False
        self.lanes: frozenset[str] | None = None

    def send(self, frame: Frame) -> None:
        """Send a control frame: before every event that is published after this call."""
        self.send_json(encode_json(frame))

    def send_json(self, data: bytes) -> None:
        """Send an encoded control frame."""
        if self.closed:
            return
        if self._control_bytes > CONTROL_LIMIT:
            self._peer.close(1013, SlowConsumer.code)
            self.close()
            return
        # Only what waits already is held against the reader: a snapshot alone may be larger than the bound.
        self._control += (websocket_header(TEXT, len(data)), data)
        self._control_bytes += len(data)
        self._schedule()

    def watch(self, stream: Stream, after: int) -> None:
        """Send the stream's events behind number `after`, replayed and live; a second call moves the place."""
        former = self._subscriptions.pop(stream.id, None)
        subscription = Subscription(self, stream, after)
        # The former place is left after the new one is taken: in between nobody would watch, and the turn might stop.
        if former is not None:
            self._leave(former)
        if subscription.cursor.over:
            self._leave(subscription)
        else:
            self._subscriptions[stream.id] = subscription

    def unwatch(self, stream: str) -> int | None:
        """Stop sending a stream; gives the last number sent, or None where it was not watched."""
        subscription = self._subscriptions.pop(stream, None)
        if subscription is None:
            return None
        self._leave(subscription)
        return subscription.cursor.after

    def _leave(self, subscription: Subscription) -> None:
        if subscription.dirty:
            self._dirty.remove(subscription)
            subscription.dirty = False
        subscription.cursor.close()

    @property
    def watching(self) -> int:
        """Streams that are watched and not over."""
        return len(self._subscriptions)

    async def writable(self) -> None:
        """Wait until the socket takes more: commands of a client that does not read its answers wait here."""
        while not self.closed and (self._control_bytes > HIGH_WATER or self._peer.buffered() > HIGH_WATER):
            self._writable = self._loop.create_future()
            self._schedule()
            await self._writable

    def close(self) -> None:
        """Leave every stream; nothing is sent any more."""
        self.closed = True
        for id in list(self._subscriptions):
            self.unwatch(id)
        self._control.clear()
        self._dirty.clear()
        self._wake_writable()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write all that is due, in one piece."""
        self._scheduled = False
        if self.closed:
            return
        if self._peer.buffered() > HIGH_WATER:
            self._scheduled = True
            self._loop.call_later(self._retry, self.flush)
            self._retry = min(self._retry * 2, _RETRY_MOST)
            return
        self._retry = _RETRY_FIRST
        out, self._control, self._control_bytes = self._control, [], 0
        dirty, self._dirty = self._dirty, []
        for subscription in dirty:
            subscription.dirty = False
            taken = len(out)
            try:
                self._take(subscription, out)
            except Exception:
                # One stream that cannot be sent must not silence the others.
                log.exception("stream_not_sendable", stream=subscription.cursor.stream.id)
                del out[taken:]
                self._give_up(subscription, Internal("an event of this stream could not be sent"), out)
        if out:
            self._peer.write(b"".join(out))
        if self._writable is not None:
            self._wake_writable()

    def _wake_writable(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _take(self, subscription: Subscription, out: list[bytes]) -> None:
        cursor = subscription.cursor
        stream = cursor.stream
        before = cursor.after
        try:
            entries = cursor.take(BATCH)
        except SlowConsumer as error:
            if self._stats is not None:
                self._stats.detached += 1
            self._give_up(subscription, error, out)
            return
        if self.join or self.lanes is not None or subscription.sent != before:
            self._select(stream, subscription, entries, out)
        else:
            prefix = stream.prefix
            for entry in entries:
                if type(entry.event) is Audio:
                    self._audio(stream, entry, None, out)
                else:
                    data = entry.json or entry.frame(prefix)
                    size = len(data)
                    out += (_SHORT[size] if size < 126 else websocket_header(TEXT, size), data)
            subscription.sent = cursor.after
        if stream.ended is not None and cursor.over:
            self._subscriptions.pop(stream.id, None)
            cursor.close()
        elif cursor.behind:
            subscription.wake()

    def _give_up(self, subscription: Subscription, error: EngineError, out: list[bytes]) -> None:
        """Stop sending a stream, and say so; its client may come back."""
        stream = subscription.cursor.stream.id
        self.unwatch(stream)
        data = encode_json(StreamDetached(stream=stream, last=subscription.sent, error=error.body()))
        out += (websocket_header(TEXT, len(data)), data)

    def _select(self, stream: Stream, subscription: Subscription, entries: Sequence[Entry], out: list[bytes]) -> None:
        """Send what this reader asked for: `prev` tells of numbers that a frame covers or that were left out."""
        held: list[Event] = []
        last = subscription.sent

        def put(event: Event, n: int) -> None:
            data = encode_event(stream.prefix, n, event, subscription.sent)
            out.extend((websocket_header(TEXT, len(data)), data))
            subscription.sent = n

        for entry in entries:
            event = entry.event
            if self.lanes is not None and _lane_of(event) not in (None, *self.lanes):
                continue
            if held and (not self.join or join_deltas([held[0], event]) is None):
                put(join_deltas(held) or held[0], last)
                held = []
            if type(event) is Audio:
                self._audio(stream, entry, subscription.sent, out)
                subscription.sent = entry.n
            elif self.join and join_deltas([event]) is not None:
                held.append(event)
            else:
                put(event, entry.n)
            last = entry.n
        if held:
            put(join_deltas(held) or held[0], last)

    def _audio(self, stream: Stream, entry: Entry, prev: int | None, out: list[bytes]) -> None:
        event = entry.event
        assert isinstance(event, Audio)
        data = encode_audio(stream.number, entry.n, stream.lane_number(event.lane), event, prev)
        out += (websocket_header(BINARY, len(data)), data)


def _lane_of(event: Event) -> str | None:
    return event.lane if isinstance(event, (Audio, Gap, LaneStarted, LaneEnded)) else None
