"""A whole answer that the official SDK reads."""

from __future__ import annotations

from typing import Any

import msgspec
from openai.types.chat import ChatCompletion

from engine.api import Citation, Said, StreamEnded, ToolCall, Usage
from plugins.openai_api.completion import completion

LOGPROB = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}
ENDED = StreamEnded(status="completed", reason="done", finish_reason="stop", model="local/smol")


def read(said: Said, ended: StreamEnded = ENDED, **options: Any) -> ChatCompletion:
    """The answer as the SDK's own model reads it."""
    made = completion("s_1", said, ended, model="local", created=1_790_000_000, **options)
    return ChatCompletion.model_validate_json(msgspec.json.encode(made), strict=True)


def test_an_answer_has_its_text_its_model_and_the_id_of_its_stream() -> None:
    answer = read(Said(text="Hello"))
    assert (answer.id, answer.object, answer.model) == ("chatcmpl-s_1", "chat.completion", "local/smol")
    assert answer.choices[0].message.content == "Hello"
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "stop")
    assert answer.choices[0].logprobs is None


def test_calls_come_with_null_in_the_place_of_the_text() -> None:
    said = Said(tool_calls=(ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}'),))
    choice = read(said, msgspec.structs.replace(ENDED, finish_reason="tool_calls")).choices[0]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "weather", '{"city":"Bern"}')


def test_every_choice_that_was_asked_for_is_there() -> None:
    calls = (ToolCall(call_id="c", name="f", arguments="{}", choice=1),)
    answer = read(Said(text="a", choices=("a", ""), tool_calls=calls), choices=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == ["a", None, ""]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "tool_calls", "stop"]


def test_usage_is_told_with_its_details() -> None:
    usage = Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2)
    told = read(Said(text="a"), msgspec.structs.replace(ENDED, usage=usage)).usage
    assert told is not None and told.prompt_tokens_details is not None and told.completion_tokens_details is not None
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (9, 4, 13)
    assert (told.prompt_tokens_details.cached_tokens, told.completion_tokens_details.reasoning_tokens) == (3, 2)


def test_log_probabilities_belong_to_their_choice() -> None:
    said = Said(text="Hi", choices=("Hi", "Hi"))
    answer = read(said, choices=2, logprobs={1: [LOGPROB]})
    first, second = (choice.logprobs for choice in answer.choices)
    assert first is None and second is not None and second.content is not None
    assert second.content[0].token == "Hi"


def test_sources_and_thinking_stand_in_the_message() -> None:
    said = Said(text="a", reasoning="Hmm", citations=(Citation(url="https://a.example"),))
    message = read(said).choices[0].message
    assert message.annotations is not None
    assert message.annotations[0].url_citation.title == "https://a.example"
    assert message.to_dict()["reasoning_content"] == "Hmm"


def test_what_the_vendor_told_beside_the_answer_is_passed_on() -> None:
    extra = {"system_fingerprint": "fp_1", "service_tier": "default", "id": "other"}
    answer = read(Said(text="a"), msgspec.structs.replace(ENDED, extra=extra))
    assert (answer.system_fingerprint, answer.service_tier, answer.id) == ("fp_1", "default", "chatcmpl-s_1")


def test_the_model_that_was_asked_stands_where_none_is_known_to_have_answered() -> None:
    assert read(Said(text="a"), msgspec.structs.replace(ENDED, model=None)).model == "local"
