"""The program that speaks: whose turn it is, and that what nobody waits for is not computed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event

from plugins.tts.speaking_child import Speaker
from plugins.vendors.model_child import Replies
from plugins.vendors.model_frames import DATA, END, FAILED, HEAD, LEFT, OPEN


class Scripted:
    """A voice whose text says how many blocks it has; each waits until it is let go."""

    rate = 8_000

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.asked: SimpleQueue[str] = SimpleQueue()
        self.go: SimpleQueue[None] = SimpleQueue()

    def blocks(self, text: str, voice: str, speed: float) -> Iterator[bytes]:
        for number in range(int(text)):
            self.asked.put(f"{voice}{number}")
            self.go.get(timeout=10)
            if speed != 1.0:
                raise RuntimeError("too fast")
            self.computed.append(f"{voice}{number}")
            yield b"12345678"


class Output(io.BytesIO):
    """What is written, and a sign for each end."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = {END: Event(), FAILED: Event()}

    def write(self, data: bytes) -> int:  # type: ignore[override]
        kind = HEAD.unpack(data[: HEAD.size])[1]
        written = super().write(data)
        if kind in self.ended:
            self.ended[kind].set()
        return written


def opened(text: str, voice: str, speed: float = 1.0) -> bytes:
    return json.dumps({"text": text, "voice": voice, "speed": speed}).encode()


def test_a_new_speech_is_heard_before_the_rest_of_a_long_one() -> None:
    voice, output = Scripted(), Output()
    speaker = Speaker(voice, Replies(output), "scripted")
    speaker.take(1, OPEN, opened("4", "a"))
    assert voice.asked.get(timeout=10) == "a0"
    speaker.take(2, OPEN, opened("2", "b"))
    for _ in range(6):
        voice.go.put(None)
    while len(voice.computed) < 6:
        voice.asked.get(timeout=10)
    assert voice.computed == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_what_nobody_waits_for_is_not_computed() -> None:
    voice, output = Scripted(), Output()
    speaker = Speaker(voice, Replies(output), "scripted")
    speaker.take(1, OPEN, opened("100", "a"))
    assert voice.asked.get(timeout=10) == "a0"
    speaker.take(1, LEFT, b"")
    speaker.take(2, OPEN, opened("1", "b"))
    for _ in range(2):
        voice.go.put(None)
    assert output.ended[END].wait(10)
    assert voice.computed == ["a0", "b0"]
    # Nor is told what was computed when it left.
    assert HEAD.unpack(output.getvalue()[: HEAD.size])[:2] == (2, DATA)


def test_a_voice_that_fails_ends_its_speech_with_the_reason_and_goes_on_with_others() -> None:
    voice, output = Scripted(), Output()
    speaker = Speaker(voice, Replies(output), "scripted")
    speaker.take(1, OPEN, opened("1", "a", speed=2.0))
    speaker.take(2, OPEN, opened("1", "b"))
    for _ in range(2):
        voice.go.put(None)
    assert output.ended[FAILED].wait(10) and output.ended[END].wait(10)
    assert b"RuntimeError: too fast" in output.getvalue()
