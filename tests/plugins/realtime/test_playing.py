"""Playback on virtual time: the speed of play, what was heard, and what a stop forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from engine.testing.clock import virtual_time
from plugins.realtime.playing import AHEAD, Answer, Player

RATE = 16_000
SECOND = RATE * 2
T = TypeVar("T")


class Client:
    """Who listens: each frame with the time at which it came."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, int, bytes]] = []
        self.told: list[str] = []
        self.here = True
        self.player = Player(
            RATE,
            send=lambda pcm, at: self.frames.append((asyncio.get_running_loop().time(), at, pcm)),
            began=lambda: self.told.append("began"),
            over=lambda: self.told.append("over"),
            listened=lambda: self.here,
        )

    @property
    def sound(self) -> bytes:
        return b"".join(pcm for _, _, pcm in self.frames)


def played(scene: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run a scene with somebody who listens, on virtual time."""

    async def run() -> T:
        client = Client()
        playing = asyncio.create_task(client.player.run())
        try:
            return await scene(client)
        finally:
            playing.cancel()

    with virtual_time() as runner:
        return runner.run(run())


def tone(seconds: float, start: int = 0) -> bytes:
    """Samples that count, so that each place is known."""
    return b"".join(((start + n) & 0x7FFF).to_bytes(2, "little") for n in range(int(seconds * RATE)))


def test_frames_go_out_at_the_speed_of_play_and_little_ahead_of_it() -> None:
    async def scene(client: Client) -> None:
        begun = asyncio.get_running_loop().time()
        client.player.begin()
        assert client.player.add(tone(3), "")
        client.player.finish()
        await asyncio.sleep(4)
        assert client.sound == tone(3)
        assert client.told == ["began", "over"]
        for time, at, _ in client.frames:
            assert at / 1000 - (time - begun) <= AHEAD + 1e-6

    played(scene)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30))
def test_every_sample_is_sent_once_and_in_order_however_it_comes(sizes: list[int]) -> None:
    whole = tone(sum(sizes) / RATE)

    async def scene(client: Client) -> None:
        client.player.begin()
        at = 0
        for size in sizes:
            client.player.add(whole[at : at + 2 * size], "")
            at += 2 * size
            await asyncio.sleep(size / RATE / 2)
        client.player.finish()
        await asyncio.sleep(len(whole) / SECOND + 1)
        assert client.sound == whole[:at]
        media = 0
        for _, when, pcm in client.frames:
            assert when == media // 32
            media += len(pcm)

    played(scene)


def test_what_was_held_goes_on_where_it_was_heard_last() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.add(tone(2), "")
        client.player.finish()
        await asyncio.sleep(1)
        heard = client.player.heard
        assert abs(heard - SECOND) <= SECOND // 50
        client.player.hold()
        sent = len(client.sound)
        await asyncio.sleep(3)
        assert len(client.sound) == sent, "nothing is sent while it is held"
        assert client.player.heard == heard
        client.player.resume()
        await asyncio.sleep(2)
        assert client.sound[sent:] == tone(2)[heard:]
        assert client.told == ["began", "over"]

    played(scene)


def test_the_client_knows_better_what_was_heard() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.add(tone(2), "")
        await asyncio.sleep(1)
        client.player.played(400)
        assert client.player.heard == 400 * SECOND // 1000
        await asyncio.sleep(0.5)
        assert abs(client.player.heard - 900 * SECOND // 1000) <= 2

    played(scene)


def test_a_dropped_answer_is_never_over_and_the_next_one_plays() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.add(tone(5), "")
        await asyncio.sleep(1)
        client.player.hold()
        client.player.drop()
        sent = len(client.sound)
        client.player.begin()
        client.player.add(tone(0.5, 7_000), "")
        client.player.finish()
        await asyncio.sleep(1)
        assert client.sound[sent:] == tone(0.5, 7_000)
        assert client.told == ["began", "began", "over"]

    played(scene)


def test_an_answer_waits_for_a_listener_who_has_gone() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.add(tone(1), "")
        client.player.finish()
        await asyncio.sleep(0.5)
        client.here = False
        await asyncio.sleep(0.2)
        sent = len(client.sound)
        await asyncio.sleep(30)
        assert len(client.sound) == sent
        client.here = True
        await asyncio.sleep(2)
        assert client.sound == tone(1)

    played(scene)


def test_its_maker_waits_while_much_waits_to_be_played() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.add(tone(4), "")
        begun = asyncio.get_running_loop().time()
        await client.player.room()
        assert 1.5 < asyncio.get_running_loop().time() - begun < 2.5

    played(scene)


def test_an_answer_without_sound_is_over_at_once() -> None:
    async def scene(client: Client) -> None:
        client.player.begin()
        client.player.finish()
        await asyncio.sleep(0.1)
        assert client.told == ["over"]

    played(scene)


WORDS = ["The boat is green. ", "It lies in the harbour, ", "and nobody sails it."]


def marked() -> Answer:
    answer = Answer(RATE)
    for text in WORDS:
        answer.words.append(text)
        answer.add(tone(1), text)
    answer.take(3 * SECOND)
    return answer


@given(st.integers(0, 3 * SECOND))
def test_what_was_heard_are_whole_words_from_the_beginning(offset: int) -> None:
    heard = marked().heard(offset)
    said = "".join(WORDS)
    assert said.startswith(heard)
    rest = said[len(heard) :]
    assert not heard or heard[-1].isspace() or not rest or rest[0].isspace()


def test_the_marks_say_which_words_were_heard() -> None:
    answer = marked()
    assert answer.heard(SECOND) == WORDS[0]
    assert answer.heard(2 * SECOND) == WORDS[0] + WORDS[1]
    assert answer.heard(3 * SECOND) == "".join(WORDS)
    assert answer.heard(0) == ""


def test_without_marks_the_time_tells() -> None:
    answer = Answer(RATE)
    answer.words.append("one two three four five six seven eight")
    answer.add(tone(4), "")
    assert answer.heard(2 * SECOND) == "one two three four"
