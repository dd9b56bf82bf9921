"""Live audio on its way to a transcriber: cut where a client cuts it, in pieces that have a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import FrameTooLarge, Overloaded
from engine.wire.g711 import LAWS
from plugins.audio.listening import RATE, Ears
from plugins.audio.recording import Recorder

SECOND = RATE * 2


async def heard(ears: Ears) -> list[bytes]:
    ears.finish()
    return [piece async for piece in ears.pieces()]


async def test_half_a_sample_goes_on_with_the_next_frame() -> None:
    ears = Ears(RATE, 10, 60)
    for n, payload in enumerate((b"\1\2\3", b"\4", b"\5\6\7", b"\x08\x09"), 1):
        ears.take(n, payload, 0)
    assert b"".join(await heard(ears)) == bytes(range(1, 9))


async def test_a_frame_that_is_refused_changes_nothing() -> None:
    ears = Ears(RATE, 1, 60)
    ears.take(1, bytes(SECOND - 1), 0)
    with pytest.raises(Overloaded):
        ears.take(2, bytes(SECOND), 0)
    ears.take(2, b"\1", 0)
    assert b"".join(await heard(ears)) == bytes(SECOND - 1) + b"\1"


async def test_a_frame_longer_than_the_backlog_is_taken_in_pieces_once_nothing_waits() -> None:
    ears = Ears(8_000, 60, 60, law=LAWS["mulaw"])
    assert ears.take(1, bytes([255]) * 8_000 * 70, 0) == 1
    with pytest.raises(Overloaded, match="again"):
        ears.take(2, bytes(160), 0)
    pieces = ears.pieces()
    for _ in range(70):
        assert len(await anext(pieces)) <= 1.1 * SECOND
    assert ears.take(2, bytes(8_000), 0) == 2


async def sound(seconds: int) -> AsyncIterator[bytes]:
    for _ in range(seconds):
        yield bytes(SECOND)


async def test_recordings_together_have_a_bound_and_give_back_what_they_had() -> None:
    recorder = Recorder(room=5 * SECOND)
    async with recorder.record(RATE, sound(3)) as (file, size):
        assert (size, len(file.read())) == (3 * SECOND + 44, 3 * SECOND + 44)
        with pytest.raises(Overloaded):
            async with recorder.record(RATE, sound(3)):
                pass
    async with recorder.record(RATE, sound(5)) as (_, size):
        assert size == 5 * SECOND + 44


async def test_a_recording_is_written_no_further_than_its_vendor_takes_it() -> None:
    with pytest.raises(FrameTooLarge, match="at most 2 seconds"):
        async with Recorder(1 << 30).record(RATE, sound(9), longest=2 * SECOND + 44):
            pass


async def test_no_audio_is_an_empty_recording() -> None:
    async with Recorder(1 << 30).record(RATE, sound(0)) as (_, size):
        assert size == 0
