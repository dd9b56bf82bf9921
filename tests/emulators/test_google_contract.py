"""The official Google SDK reads what the Google emulator sends."""

import io
import json
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types
from google.genai.types import HttpOptions

from engine.wire.wav import wav_header
from tests.emulators.conftest import GOOGLE_SDK_WARNING
from tests.emulators.google import GoogleEmulator
from tests.emulators.google_hearing import GoogleHearingEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage
from tests.emulators.sound import levels_of

MODEL = "gemini-2.5-flash"
FULL = Say(
    "Søndag is sunny.",
    reasoning="Let me look.",
    tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"}), ToolUse("call_2", "time", {"zone": "CET"})],
    citations=[Citation("https://example.org/a", "Weather", start=10, end=15)],
    usage=Usage(input=20, output=9, cached=5, reasoning=3),
)


async def chunks_of(client: genai.Client, **options: Any) -> list[types.GenerateContentResponse]:
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents="Hello there", **options)
    return [chunk async for chunk in stream]


def parts_of(chunks: list[types.GenerateContentResponse]) -> list[types.Part]:
    contents = [chunk.candidates[0].content for chunk in chunks if chunk.candidates]
    return [part for content in contents if content for part in content.parts or ()]


def check(chunks: list[types.GenerateContentResponse]) -> None:
    """Both ways to answer say this."""
    parts = parts_of(chunks)
    assert "".join(part.text or "" for part in parts if not part.thought) == "Søndag is sunny."
    assert "".join(part.text or "" for part in parts if part.thought) == "Let me look."
    calls = [part for part in parts if part.function_call]
    assert [part.function_call.args for part in calls if part.function_call] == [{"city": "Oslo"}, {"zone": "CET"}]
    assert calls[0].thought_signature == b"signed"
    candidate = (chunks[-1].candidates or [])[0]
    assert candidate.finish_reason == types.FinishReason.STOP
    grounding = candidate.grounding_metadata
    assert grounding and grounding.grounding_chunks and grounding.grounding_supports
    assert grounding.grounding_chunks[0].web and grounding.grounding_chunks[0].web.uri == "https://example.org/a"
    segment = grounding.grounding_supports[0].segment
    assert segment and (segment.start_index, segment.end_index, segment.text) == (11, 16, "sunny")
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (20, 5)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (6, 3)


async def test_a_stream_carries_thoughts_calls_grounding_and_usage(
    google_vendor: GoogleEmulator, google_client: genai.Client
) -> None:
    google_vendor.script.append(FULL)

    check(await chunks_of(google_client))


async def test_a_whole_answer_says_the_same(google_vendor: GoogleEmulator, google_client: genai.Client) -> None:
    google_vendor.script.append(FULL)

    check([await google_client.aio.models.generate_content(model=MODEL, contents="Hello")])


async def test_an_empty_script_echoes_the_last_user_text_in_words(google_client: genai.Client) -> None:
    assert [part.text for part in parts_of(await chunks_of(google_client))] == ["Hello ", "there", ""]


async def test_length_safety_and_a_blocked_prompt_are_told(
    google_vendor: GoogleEmulator, google_client: genai.Client
) -> None:
    google_vendor.script.extend([Say("It", finish="length"), Say("It", refusal="No."), Say(refusal="No.")])

    reasons = [(await chunks_of(google_client))[-1].candidates for _ in range(2)]
    blocked = await chunks_of(google_client)

    assert [candidates[0].finish_reason for candidates in reasons if candidates] == [
        types.FinishReason.MAX_TOKENS,
        types.FinishReason.SAFETY,
    ]
    assert blocked[0].prompt_feedback and blocked[0].prompt_feedback.block_reason == "PROHIBITED_CONTENT"


async def test_models_are_listed_and_texts_embedded(google_client: genai.Client) -> None:
    models = [model.name async for model in await google_client.aio.models.list()]
    answer = await google_client.aio.models.embed_content(
        model="gemini-embedding-001", contents=["a", "b"], config={"output_dimensionality": 8}
    )

    assert f"models/{MODEL}" in models
    assert [len(embedding.values or ()) for embedding in answer.embeddings or ()] == [8, 8]


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (Fault.because("invalid_key"), 400, "INVALID_ARGUMENT"),
        (Fault.because("permission"), 403, "PERMISSION_DENIED"),
        (Fault.because("model_not_found"), 404, "NOT_FOUND"),
        (Fault.status(429, retry_after=7), 429, "RESOURCE_EXHAUSTED"),
        (Fault.status(500), 500, "INTERNAL"),
        (Fault.because("overloaded"), 503, "UNAVAILABLE"),
        (Fault.error_event(after=1), 500, "INTERNAL"),
    ],
)
async def test_each_error_is_the_sdks_own_exception(
    google_vendor: GoogleEmulator, google_client: genai.Client, fault: Fault, code: int, status: str
) -> None:
    google_vendor.script.append(fault)

    with pytest.raises(errors.ClientError if code < 500 else errors.ServerError) as failure:
        await chunks_of(google_client)

    assert (failure.value.code, failure.value.status) == (code, status)
    if fault.retry_after:
        assert failure.value.details["error"]["details"][-1]["retryDelay"] == "7s"


async def test_a_cut_in_mid_stream_is_a_transport_error(
    google_vendor: GoogleEmulator, google_client: genai.Client
) -> None:
    google_vendor.script.append(Fault.cut(after=1))

    with pytest.raises(Exception, match=r"incomplete|not completed|payload"):
        await chunks_of(google_client)


async def test_a_malformed_event_is_an_error(google_vendor: GoogleEmulator, google_client: genai.Client) -> None:
    google_vendor.script.append(Fault.malformed(after=1))

    with pytest.raises((errors.UnknownApiResponseError, json.JSONDecodeError)):
        await chunks_of(google_client)


@pytest.mark.parametrize("reply", [Fault.silence(after=1), Say(pieces=["Hel", Hold()])])
async def test_a_client_that_leaves_is_noticed(
    google_vendor: GoogleEmulator, google_client: genai.Client, reply: Any
) -> None:
    google_vendor.script.append(reply)
    stream = await google_client.aio.models.generate_content_stream(model=MODEL, contents="Hello")
    await anext(stream)

    await stream.aclose()  # type: ignore[attr-defined]
    await google_client.aio.aclose()

    await google_vendor.hung_up()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"generationConfg": {}}, "generationConfg"),
        ({"generationConfig": {"maxTokens": 4}}, "generationConfig.maxTokens"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "user", "parts": [{"txt": "Hi"}]}]}, "contents.0.parts.0.txt"),
        ({"safetySettings": [{"category": "HARM_CATEGORY_RUDE"}]}, "HARM_CATEGORY_RUDE"),
    ],
)
async def test_a_body_the_sdk_would_not_send_is_a_bad_request_that_names_the_place(
    google_vendor: GoogleEmulator, change: dict[str, Any], named: str
) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], **change}
    url = f"{google_vendor.base_url}/v1/models/{MODEL}:generateContent?key=test"

    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        error = (await response.json())["error"]

    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert named in error["message"]


async def test_what_the_sdk_sends_with_all_its_options_is_accepted(google_client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        max_output_tokens=10,
        stop_sequences=["END"],
        response_mime_type="application/json",
        response_json_schema={"type": "object"},
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=64),
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(name="weather", parameters_json_schema={"type": "object"})
                ]
            )
        ],
    )
    contents: list[types.ContentUnionDict] = [
        types.Content(role="user", parts=[types.Part.from_bytes(data=b"\0", mime_type="image/png")]),
        types.Content(role="model", parts=[types.Part.from_function_call(name="weather", args={})]),
        types.Content(role="user", parts=[types.Part.from_function_response(name="weather", response={"t": 4})]),
        types.Content(role="user", parts=[types.Part.from_text(text="And now?")]),
    ]

    answer = await google_client.aio.models.generate_content(model=MODEL, contents=contents, config=config)

    assert answer.text == "And now?"


@pytest.mark.filterwarnings(GOOGLE_SDK_WARNING)
async def test_the_sdk_uploads_a_recording_and_reads_what_is_said_in_it() -> None:
    async with GoogleHearingEmulator("One two three") as vendor:
        options = HttpOptions(base_url=vendor.base_url, api_version="v1beta")
        client = genai.Client(api_key="test", http_options=options)
        sound = levels_of(1, 2, 0, 3, rate=16_000)
        recording = io.BytesIO(wav_header(16_000, len(sound) // 2) + sound)
        held = await client.aio.files.upload(file=recording, config={"mime_type": "audio/wav"})
        config = types.GenerateContentConfig(
            audio_transcription_config=types.AudioTranscriptionConfig(word_timestamp=True)
        )
        answer = await client.aio.models.generate_content_stream(
            model="gemini-3.5-transcribe", contents=[held], config=config
        )
        told = [part.audio_transcription for each in [chunk async for chunk in answer] for part in parts_of([each])]
        await client.aio.files.delete(name=str(held.name))
        await client.aio.aclose()
        client.close()
    texts = [heard.text for heard in told if heard is not None]
    assert texts == ["One two", "three"]
    assert told[1] is not None and told[1].words is not None
    assert told[1].words[0].start_offset == "0.78s"
    assert vendor.deleted == ["f0"]
