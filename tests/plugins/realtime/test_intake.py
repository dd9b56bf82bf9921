"""What a client sends into a call is bounded, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import Overloaded, RealtimeAudio, RealtimeInput, RealtimeText
from plugins.realtime.intake import MOST_SAID, Intake
from plugins.realtime.sound import codec

RATE = 16_000


@pytest.fixture
async def intake() -> Intake:
    return Intake(codec("pcm_s16le"), rate=RATE, hears=RATE, backlog=1.0, heard=lambda pcm: None, asked=lambda: None)


async def taken(items: AsyncIterator[RealtimeInput], count: int) -> list[RealtimeInput]:
    return [await anext(items) for _ in range(count)]


async def test_what_is_said_beside_the_audio_is_refused_while_the_model_is_far_behind(intake: Intake) -> None:
    for _ in range(MOST_SAID):
        intake.say(RealtimeText("Hello"))
    with pytest.raises(Overloaded) as refused:
        intake.say(RealtimeText("Hello"))
    assert refused.value.retry_after == 0.5
    await taken(intake.items(), 1)
    intake.say(RealtimeText("Hello"))


async def test_audio_that_waits_takes_no_place_of_what_is_said(intake: Intake) -> None:
    for n in range(1, 51):
        intake.take(n, bytes(RATE // 50 * 2), 0)
    with pytest.raises(Overloaded):
        intake.take(51, bytes(RATE // 50 * 2), 0)
    intake.say(RealtimeText("Hello"))
    told = await taken(intake.items(), 51)
    assert [type(item) for item in told] == [RealtimeAudio] * 50 + [RealtimeText]
    intake.take(51, bytes(RATE // 50 * 2), 0)


async def test_half_a_sample_goes_on_with_the_next_frame(intake: Intake) -> None:
    for n, payload in enumerate((b"\1\2\3", b"\4", b"\5\6\7", b"\x08\x09"), 1):
        intake.take(n, payload, 0)
    intake.finish()
    assert b"".join([item.pcm async for item in intake.items() if isinstance(item, RealtimeAudio)]) == bytes(
        range(1, 9)
    )


async def test_a_frame_longer_than_the_backlog_is_taken_in_pieces_once_nothing_waits(
    intake: Intake,
) -> None:
    assert intake.take(1, bytes(RATE * 2 * 12), 0) == 1
    with pytest.raises(Overloaded, match="again"):
        intake.take(2, bytes(640), 0)
    items = intake.items()
    for _ in range(12):
        item = await anext(items)
        assert isinstance(item, RealtimeAudio) and len(item.pcm) == RATE * 2
    intake.take(2, bytes(640), 0)
