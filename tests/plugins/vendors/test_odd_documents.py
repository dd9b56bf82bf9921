"""Documents of vendors of speech, transcription and calls that differ from the reference: what is not needed fails nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plugins.audio.providers.google_heard as google_heard
import plugins.vendors.openai_realtime as line
from engine.api import ProviderError, TranscriptionRequest, Usage
from plugins.audio.providers.deepgram_heard import of_file, stretch
from plugins.audio.providers.google_transcript import Transcript
from plugins.realtime.providers.google_messages import decode_message
from plugins.realtime.providers.openai_events import tool_call, usage
from plugins.vendors.failures import Vendor
from plugins.vendors.lenient import number, read_json

VENDOR = Vendor("Acme")


def test_an_event_of_a_call_is_read_without_what_does_not_fit() -> None:
    told = line.decode(
        '{"type":"x","delta":"a","audio_start_ms":"12","audio_end_ms":7.6,"item":null,"score":NaN,"error":""}'
    )
    assert (told.type, told.delta, told.audio_start_ms, told.audio_end_ms) == ("x", "a", 12, 8)
    assert (told.item, told.error) == ({}, {})


def test_an_event_of_a_call_without_a_type_is_none_that_matters() -> None:
    assert line.decode('{"event_id":12}').type == ""


@pytest.mark.parametrize("document", ['{"type":"x","delta":7}', "[]", "x", '{"type":"x","transcript":{"a":1}}'])
def test_words_and_sound_of_a_call_are_never_guessed(document: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        line.decode(document)


def test_a_called_tool_gets_an_id_and_its_arguments_as_text() -> None:
    called = tool_call({"name": "f", "arguments": {"a": 1}})
    assert called.call_id.startswith("call_")
    assert called.arguments == '{"a":1}'
    assert tool_call({"name": "f", "call_id": "c", "arguments": None}).arguments == "{}"


@pytest.mark.parametrize("told", ["x", 7, [], {"input_token_details": 3, "output_token_details": "x"}])
def test_odd_counts_of_a_call_are_left_out(told: Any) -> None:
    assert usage(told) in (None, Usage(audio_input_tokens=0, audio_output_tokens=0))


def test_a_message_of_gemini_live_is_read_without_what_does_not_fit() -> None:
    told = decode_message(
        json.dumps(
            {
                "serverContent": {
                    "modelTurn": {"parts": [{"inlineData": {"mimeType": 7, "data": "AAA="}, "thoughtSignature": 1}]},
                    "turnComplete": "yes",
                },
                "goAway": {"timeLeft": 9},
                "usageMetadata": {"promptTokensDetails": "none", "promptTokenCount": "7"},
            }
        )
    )
    assert told.server_content is not None
    assert told.server_content.model_turn is not None
    parts = told.server_content.model_turn.parts
    assert parts is not None
    assert parts[0].inline_data is not None
    assert parts[0].inline_data.data == b"\0\0"


def test_sound_of_gemini_live_that_is_not_base64_is_never_guessed() -> None:
    parts = [{"inlineData": {"mimeType": 7, "data": "…"}}]
    with pytest.raises(msgspec.ValidationError):
        decode_message(json.dumps({"serverContent": {"modelTurn": {"parts": parts}}}))


def test_what_gemini_heard_is_read_without_what_does_not_fit() -> None:
    heard = {"text": "hello", "languageCode": 7, "startOffset": 1}
    told = google_heard.decode(json.dumps({"serverContent": {"inputTranscription": heard}, "error": ""}))
    assert told.server_content is not None
    assert told.server_content.input_transcription is not None
    assert told.server_content.input_transcription.text == "hello"
    assert told.error is None


def test_a_transcript_of_gemini_is_read_whatever_stands_beside_it() -> None:
    transcript = Transcript(TranscriptionRequest(model="gemini"), VENDOR)
    said = {"candidates": [{"content": {"parts": [{"text": "hello"}]}, "finishReason": "stop"}], "error": None}
    found = [*transcript.take(b""), *transcript.take(json.dumps(said).encode()), *transcript.rest()]
    assert [each.text for each in found] == ["hello"]


def test_an_error_of_gemini_in_a_transcript_is_a_failure() -> None:
    with pytest.raises(ProviderError, match="no such thing"):
        list(Transcript(TranscriptionRequest(model="gemini"), VENDOR).take(b'{"error":{"message":"no such thing"}}'))


WORDS = [
    {"word": "hello", "start": "0.5", "end": 1, "confidence": "high", "speaker": 0},
    {"word": "there", "start": None, "end": 2},
    {"start": 1, "end": 2},
    "you",
]


def test_words_of_deepgram_without_times_are_left_out_and_its_text_is_whole() -> None:
    told = {"transcript": "hello there", "words": WORDS, "confidence": None, "speaker": []}
    heard = stretch(told, told["transcript"], 0.5, 2.0, 10.0, final=True)
    assert heard.text == "hello there"
    assert [(word.text, word.start, word.end, word.confidence) for word in heard.words] == [("hello", 10.5, 11.0, None)]
    assert (heard.speaker, heard.confidence) == ("0", None)


def test_utterances_of_deepgram_may_have_no_times() -> None:
    (heard,) = of_file({"utterances": [{"transcript": "hello", "start": "x", "end": 1.5, "words": 3}]})
    assert (heard.text, heard.start, heard.end, heard.words) == ("hello", None, 1.5, ())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
FIELDS = st.sampled_from(["start", "end", "confidence", "speaker", "word", "punctuated_word", "words"])


@given(st.dictionaries(FIELDS, JUNK), st.dictionaries(FIELDS, JUNK))
def test_junk_beside_the_words_of_deepgram_costs_no_transcript(utterance: Any, word: Any) -> None:
    document = read_json(json.dumps({"utterances": [{"transcript": "hello", "words": [word], **utterance}]}))
    (heard,) = of_file(document)
    assert heard.text == "hello"
    msgspec.json.encode(heard)


@given(JUNK)
def test_any_json_is_read_and_can_be_written_again(value: Any) -> None:
    msgspec.json.encode(read_json(json.dumps(value)))


def test_numbers_are_read_where_they_are_some() -> None:
    assert [number(each) for each in (1, 1.5, "1.5")] == [1.0, 1.5, 1.5]
    none: list[Any] = ["x", None, True, float("nan"), float("inf"), "nan", []]
    assert {number(each) for each in none} == {None}
