"""What a turn reads from the history, and what it leaves there."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api.chat import ImagePart, Message, ReasoningPart, TextPart
from engine.api.commands import Lost
from engine.api.data import Database
from engine.api.errors import ErrorBody, InvalidRequest
from engine.api.events import Citation, Cost, ToolCall, Usage
from engine.api.identity import Principal
from engine.api.streams import Said
from plugins.chat.history.errors import ConversationNotFound, MessageNotFound
from plugins.chat.history.store import History
from plugins.chat.history.turns import first_words
from tests.plugins.chat.history.kit import Talk, ending, said

CALL = ToolCall(call_id="call_1", name="weather", arguments='{"city":"Oslo"}')
OTHER_CALL = ToolCall(call_id="call_2", name="weather", arguments='{"city":"Bern"}')
THOUGHT = ReasoningPart(provider="anthropic", text="Oslo is cold", signature="sig")


async def test_a_turn_without_a_conversation_begins_one(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("Hello there", "Hi!")

    conversation = await history.conversations.get(me, opened.conversation)
    assert (conversation.title, conversation.titled_by, conversation.model) == ("Hello there", "first_words", "local")
    question, answer = await talk.shown(opened.conversation)
    assert (question.role, question.text, question.parent) == ("user", "Hello there", None)
    assert (answer.role, answer.text, answer.parent) == ("assistant", "Hi!", question.id)
    assert (answer.id, conversation.leaf) == (opened.answer, opened.answer)
    assert (answer.model, answer.status, answer.stream) == ("local/tiny", "completed", "s_1")
    assert answer.usage == Usage(input_tokens=3, output_tokens=2)


async def test_the_next_turn_goes_on_where_the_last_ended(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    thread = await history.thread(me, opened.conversation, None)
    assert thread.parent == opened.answer
    assert [message.text for message in thread.messages] == ["one", "two"]

    await talk.turn("three", "four", opened.conversation)
    assert await talk.words(opened.conversation) == ["one", "two", "three", "four"]


async def test_the_question_stands_from_the_accept_on(talk: Talk) -> None:
    opened = await talk.ask("are you there?")
    assert await talk.words(opened.conversation) == ["are you there?"]


async def test_a_parent_begins_a_branch_beside_what_was_there(history: History, me: Principal, talk: Talk) -> None:
    first = await talk.turn("one", "two")
    second = await talk.turn("three", "four", first.conversation)
    await talk.turn("drei", "vier", first.conversation, parent=first.answer)

    assert await talk.words(first.conversation) == ["one", "two", "drei", "vier"]
    shown = await talk.shown(first.conversation)
    assert shown[2].siblings == [second.leaf, shown[2].id]


async def test_the_root_as_parent_begins_beside_the_first_question(talk: Talk) -> None:
    first = await talk.turn("one", "two")
    await talk.turn("eins", "zwei", first.conversation, parent="root")
    assert await talk.words(first.conversation) == ["eins", "zwei"]
    assert len((await talk.shown(first.conversation))[0].siblings) == 2


async def test_no_question_asks_for_another_answer(talk: Talk) -> None:
    first = await talk.turn("one", "two")
    again = await talk.ask([], first.conversation, parent=first.leaf)
    await talk.answer(again, ending("zwei"))

    question, answer = await talk.shown(first.conversation)
    assert (question.id, answer.text) == (first.leaf, "zwei")
    assert answer.siblings == [first.answer, again.answer]


async def test_nobody_goes_on_with_what_is_not_theirs(history: History, stranger: Principal, talk: Talk) -> None:
    opened = await talk.turn("secret", "kept")
    for id in (opened.conversation, "c_0000", "x" * 500, ""):
        with pytest.raises(ConversationNotFound) as raised:
            await history.thread(stranger, id, None)
        assert (raised.value.code, raised.value.status, raised.value.field) == (
            "conversation_not_found",
            404,
            "conversation",
        )


async def test_a_parent_of_another_conversation_is_not_found(history: History, me: Principal, talk: Talk) -> None:
    mine, other = await talk.turn("one", "two"), await talk.turn("three", "four")
    with pytest.raises(MessageNotFound) as raised:
        await history.thread(me, mine.conversation, other.answer)
    assert raised.value.field == "parent"


async def test_a_parent_without_a_conversation_is_refused(history: History, me: Principal) -> None:
    with pytest.raises(InvalidRequest, match="name the conversation too"):
        await history.thread(me, None, "m_1")


async def test_everything_in_a_message_comes_back_as_it_was(history: History, me: Principal, talk: Talk) -> None:
    picture = ImagePart(data="aGk=", media_type="image/png", detail="low")
    asked = [
        said("be brief 🌍", "system"),
        Message(role="user", parts=(TextPart("what is this?"), picture), name="Ann"),
    ]
    opened = await talk.ask(asked)
    thread = await history.thread(me, opened.conversation, None)
    assert list(thread.messages) == asked


async def test_the_steps_of_the_tool_loop_stand_between_question_and_answer(
    history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.ask("weather?")
    step = Message(role="assistant", parts=(THOUGHT, TextPart("Let me see. ")), tool_calls=(CALL,))
    result = said("4 °C", "tool", tool_call_id="call_1", name="weather")
    told = Said(text="Let me see. It is cold.", reasoning="Oslo is cold", tool_calls=(CALL,))
    await talk.answer(opened, ending(said=told, usage=Usage(output_tokens=9)), steps=[step, result])

    thread = await history.thread(me, opened.conversation, None)
    assert list(thread.messages) == [said("weather?"), step, result, said("It is cold.", "assistant")]
    stored = await talk.shown(opened.conversation)
    assert [message.usage for message in stored] == [None, None, None, Usage(output_tokens=9)]
    assert (stored[-1].id, stored[-1].reasoning) == (opened.answer, "Oslo is cold")


async def test_calls_that_the_client_will_answer_end_the_turn(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.ask("weather?")
    outcome = ending(said=Said(tool_calls=(CALL,)), finish_reason="tool_calls")
    await talk.answer(opened, outcome, reasoning=[THOUGHT])

    result = said("4 °C", "tool", tool_call_id="call_1")
    thread = await history.thread(me, opened.conversation, None)
    assert thread.parent == opened.answer
    assert thread.followed_by([result])[1:] == (
        Message(role="assistant", parts=(THOUGHT,), tool_calls=(CALL,)),
        result,
    )


async def test_a_turn_that_ends_with_results_of_its_own_tools_adds_no_empty_answer(talk: Talk) -> None:
    opened = await talk.ask("weather in two cities?")
    step = Message(role="assistant", tool_calls=(CALL, OTHER_CALL))
    result = said("4 °C", "tool", tool_call_id="call_1")
    await talk.answer(opened, ending(said=Said(tool_calls=(CALL, OTHER_CALL))), steps=[step, result])

    _, answer, last = await talk.shown(opened.conversation)
    assert (answer.id, [call.call_id for call in answer.tool_calls]) == (opened.answer, ["call_1", "call_2"])
    assert (last.role, last.parent) == ("tool", opened.answer)


async def test_a_call_whose_id_an_earlier_step_used_is_kept(talk: Talk) -> None:
    opened = await talk.ask("weather?")
    step = Message(role="assistant", tool_calls=(CALL,))
    result = said("4 °C", "tool", tool_call_id="call_1")
    again = ToolCall(call_id="call_1", name="weather", arguments='{"city":"Rome"}', client=True)
    await talk.answer(opened, ending(said=Said(tool_calls=(CALL, again))), steps=[step, result])
    assert [message.tool_calls for message in await talk.shown(opened.conversation)][1:] == [[CALL], [], [again]]


async def test_what_a_cancelled_turn_had_said_is_kept_and_marked(talk: Talk) -> None:
    opened = await talk.ask("tell me a story")
    await talk.answer(opened, ending("Once upon", status="cancelled", reason="client_cancel"))
    answer = (await talk.shown(opened.conversation))[-1]
    assert (answer.text, answer.status) == ("Once upon", "cancelled")


async def test_a_turn_that_failed_before_it_spoke_shows_why(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.ask("hello?")
    error = ErrorBody(code="provider_error", message="the vendor broke off", retryable=True)
    await talk.answer(opened, ending(status="failed", reason="provider_error", error=error, model=None))

    answer = (await talk.shown(opened.conversation))[-1]
    assert (answer.id, answer.text, answer.status, answer.error) == (opened.answer, "", "failed", error)
    thread = await history.thread(me, opened.conversation, None)
    assert thread.parent == opened.answer
    assert [message.text for message in thread.messages] == ["hello?"]


async def test_thinking_that_led_to_no_answer_is_not_sent_again(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.ask("hard question")
    outcome = ending(said=Said(text="\n", reasoning="Hm."), status="cancelled", reason="client_cancel")
    await talk.answer(opened, outcome, reasoning=[THOUGHT])
    thread = await history.thread(me, opened.conversation, None)
    assert list(thread.messages) == [said("hard question")]
    assert (await talk.shown(opened.conversation))[-1].reasoning == "Hm."


async def test_a_failure_after_a_tool_ran_leaves_a_message_of_its_own(talk: Talk) -> None:
    opened = await talk.ask("weather?")
    step = Message(role="assistant", tool_calls=(CALL,))
    result = said("4 °C", "tool", tool_call_id="call_1")
    outcome = ending(said=Said(tool_calls=(CALL,)), status="failed", reason="provider_error")
    await talk.answer(opened, outcome, steps=[step, result])
    assert [(m.role, m.status) for m in await talk.shown(opened.conversation)][1:] == [
        ("assistant", "completed"),
        ("tool", "completed"),
        ("assistant", "failed"),
    ]


async def test_a_call_that_was_never_answered_gets_a_result_before_the_next_question(
    history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.ask("weather?")
    told = Said(text="Wait", tool_calls=(CALL, OTHER_CALL))
    await talk.answer(opened, ending(said=told, status="cancelled", reason="client_cancel"))

    thread = await history.thread(me, opened.conversation, None)
    asked = thread.followed_by([said("never mind")])
    assert [message.role for message in asked] == ["user", "assistant", "tool", "tool", "user"]
    assert [message.tool_call_id for message in asked[2:4]] == ["call_1", "call_2"]


async def test_sources_and_cost_stand_with_the_answer(talk: Talk) -> None:
    opened = await talk.ask("news?")
    source = Citation(url="https://example.com", title="Example")
    cost = Cost(amount="0.000123")
    await talk.answer(opened, ending(said=Said(text="None.", citations=(source,)), cost=cost, finish_reason="stop"))
    answer = (await talk.shown(opened.conversation))[-1]
    assert (answer.citations, answer.cost, answer.finish_reason) == ([source], cost, "stop")


async def test_a_turn_whose_process_died_keeps_what_its_row_knows(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.ask("tell me a story")
    error = ErrorBody(code="owner_lost", message="the server stopped", retryable=True)
    outcome = ending("Once upon a", status="failed", reason="owner_lost", error=error)
    await database.submit(history.recovered(Lost("s_1", me.id, opened.detail, outcome)))

    question, answer = await talk.shown(opened.conversation)
    assert (question.text, answer.text) == ("tell me a story", "Once upon a")
    assert (answer.id, answer.status, answer.error) == (opened.answer, "failed", error)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1))
async def test_any_text_comes_back_and_can_be_looked_for(
    history: History, me: Principal, talk: Talk, text: str
) -> None:
    opened = await talk.ask(text, model=text)
    assert await talk.words(opened.conversation) == [text]
    await history.search.page(me, text)


async def test_notes_of_the_client_are_kept_with_its_message(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    thread = await history.thread(me, None, None)
    opened = history.opening(thread, me, [said("hi")], model=None, stream="s_1", metadata={"device": "phone"})
    await database.submit(opened.rows)
    assert (await talk.shown(opened.conversation))[0].metadata == {"device": "phone"}


async def test_a_name_of_a_model_may_be_of_any_length(talk: Talk) -> None:
    opened = await talk.ask("hi", model="m" * 1000)
    await talk.answer(opened, ending("ho", model="n" * 1000))
    assert (await talk.shown(opened.conversation))[-1].model == "n" * 1000


async def test_a_model_names_a_conversation_until_its_user_does(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("what is the capital of Norway", "Oslo")
    assert opened.detail["new"]
    await history.name(me, opened.conversation, "Capitals")
    assert (await history.conversations.get(me, opened.conversation)).title == "Capitals"

    await history.conversations.change(me, opened.conversation, title="Mine")
    await history.name(me, opened.conversation, "Norway")
    found = await history.conversations.get(me, opened.conversation)
    assert (found.title, found.titled_by) == ("Mine", "user")


async def test_an_empty_conversation_is_titled_by_its_first_turn(history: History, me: Principal, talk: Talk) -> None:
    empty = await history.conversations.create(me)
    opened = await talk.turn("Plan a trip", "Where to?", empty.id)
    assert opened.detail["new"]
    assert (await history.conversations.get(me, empty.id)).title == "Plan a trip"
    assert not (await talk.turn("To Oslo", "Fine", empty.id)).detail["new"]
    assert (await history.conversations.get(me, empty.id)).title == "Plan a trip"


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("  hello \n\t world ", "hello world"),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 60),
        ("ab " * 30, ("ab " * 20).strip()),
        ("x" * 59 + " yes", "x" * 59),
        ("   ", "New chat"),
    ],
)
def test_a_title_is_the_first_words(words: str, title: str) -> None:
    assert first_words([said("be kind", "system"), said(words)]) == title
