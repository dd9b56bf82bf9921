"""Where live speech is cut: after silence, in a noisy room as well, and at last where somebody never stops."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from plugins.audio.pauses import LONGEST, SILENCE, Pauses
from tests.emulators.sound import tone

RATE = 16_000
PIECE = RATE // 50 * 2
QUIET = bytes(RATE * 2)


def noise(seconds: float, height: int) -> bytes:
    random = Random(7)
    return b"".join(
        random.randint(-height, height).to_bytes(2, "little", signed=True) for _ in range(int(seconds * RATE))
    )


def syllables(seconds: float) -> bytes:
    """Speech without a breath: between two sounds it is quiet for a moment."""
    return (tone(0.26, RATE) + bytes(int(0.04 * RATE) * 2)) * int(seconds / 0.3) + tone(seconds % 0.3, RATE)


def cuts(sound: bytes) -> list[float]:
    """The seconds at which a stretch ends."""
    pauses = Pauses(RATE)
    return [(at + PIECE) / 2 / RATE for at in range(0, len(sound), PIECE) if pauses.feed(sound[at : at + PIECE])]


def test_a_stretch_ends_with_the_silence_after_it() -> None:
    assert cuts(QUIET + tone(1.0, RATE) + QUIET + tone(0.5, RATE) + QUIET) == [
        pytest.approx(2.0 + SILENCE, abs=0.05),
        pytest.approx(3.5 + SILENCE, abs=0.05),
    ]


def test_a_breath_ends_nothing() -> None:
    breath = bytes(int(0.3 * RATE) * 2)
    assert cuts(tone(1.0, RATE) + breath + tone(1.0, RATE) + breath) == []


def test_the_noise_of_a_room_is_no_speech_once_it_is_known() -> None:
    room = noise(8.0, 900)
    first, *further = cuts(room + tone(1.0, RATE) + room)
    assert first < 6.0
    assert further == [pytest.approx(9.0 + SILENCE, abs=0.1)]


def test_whoever_speaks_on_and_on_is_cut_at_a_breath_and_at_last_anywhere() -> None:
    breath = bytes(int(0.1 * RATE) * 2)
    assert cuts((syllables(5.9) + breath) * 5)[0] == pytest.approx(24.0, abs=0.1)
    assert cuts(syllables(50.0)) == [pytest.approx(1.5 * LONGEST, abs=0.1)]


def test_long_silence_is_cut_too_so_that_it_is_not_kept_for_ever() -> None:
    ends = cuts(QUIET * 65)
    assert [after - before for before, after in pairwise([0.0, *ends])] == [pytest.approx(LONGEST, abs=0.1)] * 3
