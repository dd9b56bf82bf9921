"""Live audio that is kept until it was told, and connections that are made anew."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import ProviderUnavailable, Segment
from plugins.audio.tape import MOST_REPLAYED, RECONNECTS, Lost, Tape, reconnecting
from tests.plugins.audio.hearing import Microphone

RATE = 100
"""Samples a second, so that a sample is 10 ms."""


async def pieces(*sounds: bytes) -> AsyncIterator[bytes]:
    for sound in sounds:
        yield sound


def second(number: int) -> bytes:
    return bytes([number, 0]) * RATE


async def all_of(tape: Tape) -> bytes:
    sound = b""
    while (piece := await tape.piece()) is not None:
        sound += piece
    return sound


async def test_what_no_final_covers_is_given_out_again_to_the_sample() -> None:
    tape = Tape(pieces(second(1), second(2), second(3)), RATE)
    assert await all_of(tape) == second(1) + second(2) + second(3)
    tape.told_until(1.25)
    assert tape.rewind() == pytest.approx(1.25)
    assert await all_of(tape) == second(2)[50:] + second(3)


async def test_what_is_told_while_it_is_given_out_is_given_out_once() -> None:
    tape = Tape(pieces(second(1), second(2), second(3)), RATE)
    await tape.piece()
    await tape.piece()
    tape.told_until(1.5)
    assert tape.at == pytest.approx(2.0)
    assert await all_of(tape) == second(3)


async def test_all_that_was_told_leaves_nothing() -> None:
    tape = Tape(pieces(second(1)), RATE)
    await all_of(tape)
    tape.told_until(1.0)
    assert tape.rewind() == pytest.approx(1.0)
    assert await all_of(tape) == b""


async def test_no_more_is_kept_than_the_bound() -> None:
    tape = Tape(pieces(*(second(number) for number in range(90))), RATE)
    await all_of(tape)
    assert tape.rewind() == pytest.approx(90 - MOST_REPLAYED)
    assert len(await all_of(tape)) == MOST_REPLAYED * RATE * 2


async def test_waiting_in_vain_loses_nothing() -> None:
    microphone = Microphone()
    tape = Tape(microphone.audio(), RATE)
    assert tape.untouched
    with pytest.raises(TimeoutError):
        await tape.piece(timeout=0)
    assert not tape.untouched
    microphone.say(second(1))
    microphone.finish()
    assert await all_of(tape) == second(1)
    await tape.close()


@pytest.mark.parametrize(("final", "heard"), [(True, 10), (False, RECONNECTS + 1)], ids=["finals", "partials"])
async def test_a_connection_is_made_anew_as_long_as_it_gets_on(final: bool, heard: int) -> None:
    connections = 0

    async def connect() -> AsyncIterator[Segment]:
        nonlocal connections
        connections += 1
        yield Segment(text="so far", final=final)
        if connections < 10:
            raise Lost(ProviderUnavailable("it broke"))

    told = 0
    try:
        async for _ in reconnecting(connect, pause=0.0):
            told += 1
    except ProviderUnavailable as error:
        assert error.message == "it broke" and not final
    assert told == connections == heard
