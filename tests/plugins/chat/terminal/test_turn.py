"""What a turn makes of frames: each number once, nothing lost without asking again, text told once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.api.events import ReasoningDelta, TextDelta
from plugins.chat.terminal.errors import AskAgain, Dropped, Refused
from plugins.chat.terminal.frames import parse
from plugins.chat.terminal.notices import ClientEvent, ConversationUnknown, Resumed, TextReplaced
from plugins.chat.terminal.turn import Turn


def take(turn: Turn, **frame: Any) -> list[ClientEvent]:
    incoming = parse(json.dumps(frame))
    assert incoming is not None
    return turn.take(incoming)


def delta(turn: Turn, n: int, text: str, **fields: Any) -> list[ClientEvent]:
    return take(turn, stream="s_1", n=n, type="text.delta", text=text, **fields)


def accept(turn: Turn, **fields: Any) -> list[ClientEvent]:
    return take(turn, type="accepted", re=turn.ask()["id"], stream="s_1", **fields)


@pytest.fixture
def turn() -> Turn:
    """A turn whose stream has said "Hel" up to number 2."""
    turn = Turn({"input": "hi"})
    accept(turn)
    take(turn, stream="s_1", n=1, type="stream.started")
    assert delta(turn, 2, "Hel") == [TextDelta("Hel")]
    return turn


def test_a_number_that_was_seen_is_not_told_again(turn: Turn) -> None:
    assert delta(turn, 2, "Hel") == []
    assert delta(turn, 3, "lo") == [TextDelta("lo")]


def test_a_number_left_out_makes_the_turn_ask_again_behind_the_last_one_seen(turn: Turn) -> None:
    with pytest.raises(AskAgain):
        delta(turn, 4, "o")
    assert turn.ask()["after"] == 2


def test_a_joined_frame_covers_the_numbers_from_its_prev_on(turn: Turn) -> None:
    assert delta(turn, 7, "lo, you", prev=2) == [TextDelta("lo, you")]
    assert turn.last == 7


def test_events_that_come_before_the_resume_is_accepted_are_left_to_the_resume(turn: Turn) -> None:
    turn.ask()
    assert delta(turn, 3, "lo") == []
    assert turn.last == 2


def test_events_of_a_type_that_is_not_known_count_and_are_not_told(turn: Turn) -> None:
    assert take(turn, stream="s_1", n=3, type="mood.changed", mood="merry") == []
    assert delta(turn, 4, "lo") == [TextDelta("lo")]


def test_frames_of_another_stream_are_left_alone(turn: Turn) -> None:
    assert take(turn, stream="s_2", n=9, type="text.delta", text="no") == []
    assert turn.last == 2


def test_a_snapshot_tells_only_what_was_not_told_yet(turn: Turn) -> None:
    assert accept(turn, recovered=False) == [Resumed(stream="s_1", after=2, recovered=False)]
    told = take(turn, type="stream.snapshot", stream="s_1", n=9, text="Hello there", reasoning="Greet.", tool_calls=[])
    assert told == [ReasoningDelta("Greet."), TextDelta("lo there")]
    assert delta(turn, 10, "!") == [TextDelta("!")]


def test_a_snapshot_that_contradicts_what_was_told_replaces_it(turn: Turn) -> None:
    accept(turn, recovered=False)
    told = take(turn, type="stream.snapshot", stream="s_1", n=9, text="Good day", tool_calls=[])
    assert told == [TextReplaced("Good day")]


def test_a_snapshot_that_is_shorter_than_what_was_told_leaves_it_standing(turn: Turn) -> None:
    accept(turn, recovered=False)
    assert take(turn, type="stream.snapshot", stream="s_1", n=1, text="He", tool_calls=[]) == []
    assert turn.last == 1


def test_a_server_that_remembers_fewer_events_than_it_sent_is_asked_from_the_start(turn: Turn) -> None:
    error = {"code": "invalid_request", "message": "too far", "field": "after", "retryable": False}
    with pytest.raises(AskAgain):
        take(turn, type="rejected", re=turn.ask()["id"], error=error)
    assert turn.ask()["after"] == 0


def test_events_that_come_from_the_start_replace_what_was_told(turn: Turn) -> None:
    error = {"code": "invalid_request", "message": "too far", "field": "after", "retryable": False}
    with pytest.raises(AskAgain):
        take(turn, type="rejected", re=turn.ask()["id"], error=error)
    assert accept(turn, recovered=True) == [Resumed(stream="s_1", after=0, recovered=True), TextReplaced("")]
    assert delta(turn, 1, "Hello") == [TextDelta("Hello")]


def test_a_detached_stream_is_asked_for_again(turn: Turn) -> None:
    with pytest.raises(AskAgain):
        take(turn, type="stream.detached", stream="s_1", last=2)
    assert turn.ask() == {"type": "stream.resume", "id": "t2", "stream": "s_1", "after": 2}


def test_a_turn_that_was_not_accepted_is_sent_again_under_the_same_key() -> None:
    turn = Turn({"input": "hi"})
    first, second = turn.ask(), turn.ask()
    assert first["key"]
    assert {**first, "id": ""} == {**second, "id": ""}


def test_a_conversation_whose_id_was_lost_is_said_to_be(turn: Turn) -> None:
    accept(turn, recovered=False)
    take(turn, type="stream.snapshot", stream="s_1", n=9, text="Hello", tool_calls=[])
    told = take(turn, stream="s_1", n=10, type="stream.ended", status="completed", reason="done", saved=True)
    assert ConversationUnknown() in told


def test_a_conversation_whose_id_was_told_is_known(turn: Turn) -> None:
    take(turn, stream="s_1", n=3, type="message.saved", conversation="v_1", message="m_2")
    told = take(turn, stream="s_1", n=4, type="stream.ended", status="completed", reason="done", saved=True)
    assert ConversationUnknown() not in told


def test_two_turns_have_different_keys() -> None:
    assert Turn({"input": "hi"}).ask()["key"] != Turn({"input": "hi"}).ask()["key"]


def test_a_tool_call_of_the_client_is_answered_with_an_error_until_the_server_has_it(turn: Turn) -> None:
    take(turn, stream="s_1", n=3, type="tool.call", call_id="k1", name="weather", arguments="{}", client=True)
    answer = turn.outbox.popleft()
    assert answer["type"] == "tool.result"
    assert (answer["stream"], answer["call_id"], answer["error"]) == ("s_1", "k1", True)

    accept(turn)
    assert list(turn.outbox) == [answer]

    take(turn, stream="s_1", n=4, type="tool.result", call_id="k1", name="weather", output="no")
    accept(turn)
    assert not turn.outbox


def test_a_tool_call_of_the_server_is_not_answered(turn: Turn) -> None:
    take(turn, stream="s_1", n=3, type="tool.call", call_id="k1", name="weather", arguments="{}")
    assert not turn.outbox


def test_a_cancel_before_the_stream_is_known_goes_out_with_its_acceptance() -> None:
    turn = Turn({"input": "hi"})
    command = turn.ask()
    turn.cancel()
    assert not turn.outbox
    take(turn, type="accepted", re=command["id"], stream="s_1")
    assert [frame["type"] for frame in turn.outbox] == ["stream.cancel"]


def test_a_server_that_shuts_down_is_left_for_another() -> None:
    turn = Turn({"input": "hi"})
    error = {"code": "shutting_down", "message": "later", "retryable": True}
    with pytest.raises(Dropped):
        take(turn, type="rejected", re=turn.ask()["id"], error=error)


def test_a_refusal_without_an_id_belongs_to_the_command_that_waits() -> None:
    turn = Turn({"input": "hi"})
    turn.ask()
    with pytest.raises(Refused, match="too long"):
        take(turn, type="rejected", error={"code": "too_large", "message": "too long", "retryable": False})


@pytest.mark.parametrize("data", ["hello", "[]", '{"type": 1}', '{"type": "accepted", "re": []}'])
def test_what_is_no_frame_is_said_to_be_another_protocol(data: str) -> None:
    with pytest.raises(Refused, match="does not speak"):
        parse(data)
