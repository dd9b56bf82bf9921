"""Clients of calls: each speaks in frames of 20 ms at the speed of speech, and notes when what comes back comes.

A caller of the floor is connected to a path; one of the engine opens a call over its socket. Times are seconds of the
monotonic clock, which all processes of the machine share; figures are milliseconds.
"""

import asyncio
import struct
from collections import deque
from typing import Any

import aiohttp
import msgspec

from bench.traffic import monotonic_us

FRAME_S = 0.02
PATIENCE = 20.0
"""Seconds that something which must come may take."""

HEADER = struct.Struct(">IIBBHI")


class Caller:
    """One call. `path` is the floor's; without one the engine is asked for `start`, the body of a `realtime.start`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, rate: int, *, path: str = "", **start: Any) -> None:
        self.frame = rate * 2 // 50
        self.sent: deque[float] = deque(maxlen=3_000)
        """When each of the last frames was sent."""
        self.n = 0
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.came: list[float] = []
        """When each frame of sound came."""
        self.stamps: list[tuple[float, float]] = []
        """Where the vendor stamps frames: ms from here to it, and from it to here."""
        self.changed = asyncio.Event()
        self._http, self._url, self._rate, self._path, self._start = http, url, rate, path, start
        self._number = 0
        self._stream = ""

    async def begin(self) -> None:
        self._socket = await self._http.ws_connect(f"{self._url}/{self._path or 'ws'}", compress=0, max_msg_size=0)
        if not self._path:
            await self._socket.send_json(
                {"type": "realtime.start", "id": "s", "sample_rate": self._rate, **self._start}
            )
            while (told := await self._socket.receive_json())["type"] != "accepted":
                if told["type"] == "rejected":
                    raise RuntimeError(told["error"]["message"])
            self._number, self._stream = told["number"], told["stream"]
        self._reading = asyncio.create_task(self._read(), name="what a caller is told")

    async def send(self, pcm: bytes) -> None:
        """One frame of sound."""
        self.n += 1
        self.sent.append(now())
        await self._socket.send_bytes(HEADER.pack(self._number, self.n, 1, 0, 0, 0) + pcm)

    async def commit(self) -> float:
        """Say that the turn is over; gives when."""
        at = now()
        command = {"type": "realtime.commit", "id": "c", "stream": self._stream}
        await self._socket.send_str("commit" if self._path else msgspec.json.encode(command).decode())
        return at

    def when_sent(self, ms: int) -> float:
        """When the frame was sent that ends at or after this media time of what was spoken."""
        place = -(-ms // 20) - 1 - (self.n - len(self.sent))
        return self.sent[min(max(0, place), len(self.sent) - 1)]

    async def until_sound(self, after: float) -> float:
        """When the first frame of sound came after a time."""
        async with asyncio.timeout(PATIENCE):
            while not (self.came and self.came[-1] > after):
                await self._change()
        return next(at for at in self.came if at > after)

    async def until_event(self, type: str, after: float) -> tuple[float, dict[str, Any]]:
        """The first event of a type that came after a time."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for at, event in self.events:
                    if at > after and event["type"] == type:
                        return at, event
                await self._change()

    async def _change(self) -> None:
        self.changed.clear()
        await self.changed.wait()

    async def _read(self) -> None:
        async for message in self._socket:
            at = now()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.came.append(at)
                sent, passed = struct.unpack_from("<QQ", message.data, HEADER.size)
                self.stamps.append(((passed - sent) / 1000, at * 1000 - passed / 1000))
            elif message.type is aiohttp.WSMsgType.TEXT:
                self.events.append((at, msgspec.json.decode(message.data)))
            self.changed.set()

    async def end(self) -> None:
        self._reading.cancel()
        await self._socket.close()
        await asyncio.gather(self._reading, return_exceptions=True)


async def paced(begin: float, n: int) -> None:
    """Wait until frame `n` is due."""
    await asyncio.sleep(max(0.0, begin + n * FRAME_S - now()))


async def relay(caller: Caller, until: float) -> None:
    """Speak stamped frames; the vendor says each back."""
    begin, n = now(), 0
    while now() < until:
        await paced(begin, n := n + 1)
        await caller.send(monotonic_us().to_bytes(8, "little") + bytes(caller.frame - 8))


async def turns(caller: Caller, until: float) -> list[float]:
    """Speak all the time, and end a turn every second and a half; gives how long each answer's first sound took."""
    waits: list[float] = []
    speaking = asyncio.create_task(_speak_on(caller, bytes(caller.frame)), name="speaking")
    try:
        while now() < until:
            await asyncio.sleep(1.5)
            at = await caller.commit()
            waits.append((await caller.until_sound(at) - at) * 1000)
            # The answer has been played; what is played at the speed of play tells its jitter.
            await asyncio.sleep(1.5)
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    return waits


async def _speak_on(caller: Caller, pcm: bytes) -> None:
    begin, n = now(), 0
    while True:
        await paced(begin, n := n + 1)
        await caller.send(pcm)


async def ask(caller: Caller, question: bytes, until: float) -> list[float]:
    """Ask and listen; from the frame that ended the turn, as its event tells, to the first sound."""
    waits: list[float] = []
    while now() < until:
        begun = now()
        speaking = asyncio.create_task(_say(caller, question), name="asking")
        _, ended = await caller.until_event("turn.user_ended", begun)
        sound = await caller.until_sound(begun)
        waits.append((sound - caller.when_sent(ended["at"])) * 1000)
        await caller.until_event("turn.assistant_ended", begun)
        await speaking
    return waits


async def interrupt(caller: Caller, question: bytes, until: float, decided: int) -> list[float]:
    """Ask, and speak over the answer; from the frame by which speech is known, to the last sound.

    A turn is known `decided` ms after its beginning: the padding before it, and the frames that are speech.
    """
    waits: list[float] = []
    while now() < until:
        begun = now()
        await _say(caller, question)
        await caller.until_sound(begun)
        again = now()
        speaking = asyncio.create_task(_say(caller, question), name="speaking over the answer")
        cleared, _ = await caller.until_event("playback.clear", again)
        _, started = await caller.until_event("turn.user_started", again)
        known = caller.when_sent(started["at"] + decided)
        last = max(at for at in caller.came if at <= cleared)
        waits.append((max(last, cleared) - known) * 1000)
        await speaking
        await asyncio.sleep(1)
    return waits


async def _say(caller: Caller, question: bytes) -> None:
    begin = now()
    sound = question + bytes(caller.frame * 60)
    for n, at in enumerate(range(0, len(sound) - caller.frame + 1, caller.frame)):
        await paced(begin, n)
        await caller.send(sound[at : at + caller.frame])


def now() -> float:
    return monotonic_us() / 1e6
