"""The official Google SDK holds conversations with the emulator of Gemini Live."""

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession

from tests.emulators.google_live import INPUT_RATE, OUTPUT_RATE, Answer, GoogleLiveEmulator, sound_of
from tests.emulators.reply import Hold
from tests.emulators.sound import spoken

MODEL = "gemini-3.8-live"
KEY = "key-test-0123456789"
WRITTEN: Any = {"input_audio_transcription": {}, "output_audio_transcription": {}}


@pytest.fixture
async def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GoogleLiveEmulator]:
    # With a key the SDK speaks TLS alone, and trusts whom this variable names.
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    async with GoogleLiveEmulator(key=KEY, tls=tls) as emulator:
        yield emulator


@pytest.fixture
async def google_client(vendor: GoogleLiveEmulator) -> AsyncIterator[genai.Client]:
    client = client_of(vendor, KEY)
    yield client
    await client.aio.aclose()
    client.close()


def client_of(vendor: GoogleLiveEmulator, key: str) -> genai.Client:
    options = types.HttpOptions(base_url=vendor.base_url, api_version="v1beta")
    return genai.Client(api_key=key, http_options=options)


async def say(session: AsyncSession, *levels: int) -> None:
    """Words, and silence after them that is long enough for a turn."""
    pcm = sound_of(*levels, 0, 0, 0, 0, rate=INPUT_RATE)
    await session.send_realtime_input(audio=types.Blob(data=pcm, mime_type=f"audio/pcm;rate={INPUT_RATE}"))


async def turn_of(session: AsyncSession) -> list[types.LiveServerMessage]:
    """All that comes until a turn is complete."""
    return [message async for message in session.receive()]


async def until(session: AsyncSession, reached: Callable[[types.LiveServerMessage], object]) -> types.LiveServerMessage:
    async for message in session.receive():
        if reached(message):
            return message
    raise AssertionError("the turn was over before")


def contents_of(messages: list[types.LiveServerMessage]) -> list[types.LiveServerContent]:
    return [message.server_content for message in messages if message.server_content]


async def test_a_turn_of_speech_is_written_and_answered(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    vendor.answers.append(Answer("good day"))
    async with google_client.aio.live.connect(model=MODEL, config=WRITTEN) as session:
        await say(session, 1, 2)
        told = await turn_of(session)
    contents = contents_of(told)
    assert [each.input_transcription.text for each in contents if each.input_transcription] == [" w1", " w2"]
    assert "".join(each.output_transcription.text or "" for each in contents if each.output_transcription) == "good day"
    parts = [part for each in contents if each.model_turn for part in each.model_turn.parts or ()]
    assert {part.inline_data.mime_type for part in parts if part.inline_data} == {f"audio/pcm;rate={OUTPUT_RATE}"}
    sound = b"".join(message.data or b"" for message in told)
    assert sound == spoken("good", OUTPUT_RATE) + spoken("day", OUTPUT_RATE)
    assert [each.generation_complete for each in contents].count(True) == 1
    usage = told[-1].usage_metadata
    assert usage is not None and usage.response_tokens_details is not None
    assert (usage.prompt_token_count, usage.response_token_count, usage.thoughts_token_count) == (120, 60, 5)
    assert usage.response_tokens_details[0].modality == types.MediaModality.AUDIO


async def test_without_transcription_nothing_is_written(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    async with google_client.aio.live.connect(model=MODEL) as session:
        await say(session, 1)
        contents = contents_of(await turn_of(session))
    assert vendor.sessions[0].heard == ["w1"]
    assert not [each for each in contents if each.input_transcription or each.output_transcription]


async def test_writing_is_answered(vendor: GoogleLiveEmulator, google_client: genai.Client) -> None:
    async with google_client.aio.live.connect(model=MODEL, config=WRITTEN) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Who is there?")]))
        assert contents_of(await turn_of(session))[-1].turn_complete
        await session.send_realtime_input(text="And who else?")
        assert contents_of(await turn_of(session))[-1].turn_complete
    assert vendor.sessions[0].history == ["Who is there?"]


async def test_the_client_may_say_when_the_person_speaks(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    manual: Any = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}, **WRITTEN}
    async with google_client.aio.live.connect(model=MODEL, config=manual) as session:
        await session.send_realtime_input(activity_start=types.ActivityStart())
        await say(session, 1)
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        assert contents_of(await turn_of(session))[-1].turn_complete
    assert vendor.sessions[0].heard == ["w1"]


async def test_speech_interrupts_and_the_sdk_is_told(vendor: GoogleLiveEmulator, google_client: genai.Client) -> None:
    vendor.answers += [Answer("one two", holds={1: Hold()}), Answer("yes")]
    async with google_client.aio.live.connect(model=MODEL, config=WRITTEN) as session:
        await say(session, 1)
        await until(session, lambda message: message.data)
        await say(session, 2)
        contents = contents_of(await turn_of(session))
        assert [each.interrupted for each in contents].count(True) == 1
        assert contents[-1].turn_complete
        assert contents_of(await turn_of(session))[-1].turn_complete


async def test_speech_interrupts_nothing_where_it_may_not(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    hold = Hold()
    vendor.answers += [Answer("one two", holds={1: hold}), Answer("yes")]
    config: Any = {"realtime_input_config": {"activity_handling": "NO_INTERRUPTION"}, **WRITTEN}
    async with google_client.aio.live.connect(model=MODEL, config=config) as session:
        await say(session, 1)
        await until(session, lambda message: message.data)
        await session.send_realtime_input(
            audio=types.Blob(data=sound_of(2, rate=INPUT_RATE), mime_type=f"audio/pcm;rate={INPUT_RATE}")
        )
        await until(session, lambda message: message.server_content and message.server_content.input_transcription)
        hold.release()
        contents = contents_of(await turn_of(session))
    assert not [each for each in contents if each.interrupted]


async def test_tools_are_called_answered_and_called_off(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    calls: list[dict[str, Any]] = [
        {"id": "c1", "name": "weather", "args": {"city": "Oslo"}},
        {"id": "c2", "name": "time", "args": {}},
    ]
    vendor.answers += [Answer("it rains", calls=calls), Answer("never", calls=calls[:1]), Answer("yes")]
    function = {"name": "weather", "parameters_json_schema": {"type": "object"}}
    config: Any = {**WRITTEN, "tools": [{"function_declarations": [function]}]}
    async with google_client.aio.live.connect(model=MODEL, config=config) as session:
        await say(session, 1)
        asked = (await until(session, lambda message: message.tool_call)).tool_call
        assert asked is not None and asked.function_calls is not None
        assert [(call.id, call.name, call.args) for call in asked.function_calls] == [
            ("c1", "weather", {"city": "Oslo"}),
            ("c2", "time", {}),
        ]
        await session.send_tool_response(
            function_responses=[
                types.FunctionResponse(id=each["id"], name=each["name"], response={"output": "rain"}) for each in calls
            ]
        )
        assert contents_of(await turn_of(session))[-1].turn_complete
        await say(session, 2)
        await until(session, lambda message: message.tool_call)
        await say(session, 3)
        off = (await until(session, lambda message: message.tool_call_cancellation)).tool_call_cancellation
        assert off is not None and off.ids == ["c1"]


async def test_the_limit_is_announced_and_a_handle_goes_on(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    vendor.answers.append(Answer("yes", go_away="9.5s"))
    resumable: Any = {"session_resumption": {}, **WRITTEN}
    async with google_client.aio.live.connect(model=MODEL, config=resumable) as session:
        await say(session, 1)
        told = await turn_of(session)
    leaves = [message.go_away.time_left for message in told if message.go_away]
    updates = [message.session_resumption_update for message in told if message.session_resumption_update]
    assert leaves == ["9.5s"]
    assert [(update.new_handle, update.resumable) for update in updates] == [("handle-1", True)]
    resumable["session_resumption"] = {"handle": updates[0].new_handle}
    async with google_client.aio.live.connect(model=MODEL, config=resumable):
        assert vendor.sessions[1].handle == "handle-1"


@pytest.mark.parametrize(
    "refusal", [(1008, "models/x is not found for API version v1beta."), (1011, "Internal error.")]
)
async def test_a_session_that_is_refused_is_the_sdks_own_exception(
    vendor: GoogleLiveEmulator, google_client: genai.Client, refusal: tuple[int, str]
) -> None:
    vendor.refusal = refusal
    with pytest.raises(errors.APIError) as failure:
        async with google_client.aio.live.connect(model=MODEL):
            pass
    assert (failure.value.code, failure.value.details) == refusal


async def test_a_wrong_key_ends_the_session(vendor: GoogleLiveEmulator, google_client: genai.Client) -> None:
    with pytest.raises(errors.APIError, match="API key not valid"):
        async with client_of(vendor, "key-wrong-9876543210").aio.live.connect(model=MODEL):
            pass


async def test_a_session_that_is_closed_and_one_that_is_cut_are_told_apart(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    vendor.answers += [Answer(close=(1011, "Internal error.")), Answer("one two", cut=1)]
    codes = []
    for _ in range(2):
        async with google_client.aio.live.connect(model=MODEL) as session:
            await say(session, 1)
            with pytest.raises(errors.APIError) as failure:
                await turn_of(session)
            codes.append(failure.value.code)
    assert codes == [1011, 1006]


async def test_what_the_sdk_sends_with_all_its_options_is_accepted(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        speech_config=types.SpeechConfig(
            voice_config=types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
        ),
        system_instruction="Be brief.",
        context_window_compression=types.ContextWindowCompressionConfig(sliding_window=types.SlidingWindow()),
        history_config=types.HistoryConfig(initial_history_in_client_content=True),
    )
    async with google_client.aio.live.connect(model=MODEL, config=config) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Before.")]))
        await say(session, 1)
        assert contents_of(await turn_of(session))[-1].turn_complete
    assert vendor.sessions[0].history == ["Before."]


async def test_an_interpreter_speaks_along_and_ends_no_turn(
    vendor: GoogleLiveEmulator, google_client: genai.Client
) -> None:
    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        input_audio_transcription=types.AudioTranscriptionConfig(),
        output_audio_transcription=types.AudioTranscriptionConfig(),
        translation_config=types.TranslationConfig(target_language_code="pl", echo_target_language=True),
    )
    words: list[str] = []
    async with google_client.aio.live.connect(model="gemini-3.5-live-translate-preview", config=config) as session:
        await say(session, 1)
        await say(session, 2)
        async for message in session.receive():
            content = message.server_content
            assert content is not None and not content.turn_complete
            if content.output_transcription:
                words.append(content.output_transcription.text or "")
            if len(words) == 2:
                break
    assert words == [" pl1", " pl2"]
    translation = vendor.sessions[0].setup["generationConfig"]["translationConfig"]
    assert translation == {"targetLanguageCode": "pl", "echoTargetLanguage": True}


async def test_an_interpreter_takes_no_instructions(google_client: genai.Client) -> None:
    config = types.LiveConnectConfig(
        system_instruction="Be brief.", translation_config=types.TranslationConfig(target_language_code="pl")
    )
    with pytest.raises(errors.APIError, match="1007"):
        async with google_client.aio.live.connect(model="gemini-3.5-live-translate-preview", config=config):
            pass
