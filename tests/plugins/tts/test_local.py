"""The voices of this machine: who speaks, what each reads, and what happens when a model is cut or its process dies."""

from __future__ import annotations

import asyncio
import os
import signal
from array import array
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from engine.api import EngineError, InvalidRequest, ModelUnavailable, Sound, SpeechRequest
from plugins.tts.providers.local import LocalVoices
from plugins.tts.settings import TtsSettings
from plugins.tts.speaking import LIVES, ModelVoices
from plugins.tts.voices.voice import CEILING
from plugins.tts.weights import HEART, SHA256, VoiceModel
from tests.plugins.tts.here import local_voices, packaged, pcm_of, spoken

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = (
    "When the boat came home, the wind had turned, and the men who stood on the shore were cold; they had waited for "
    "hours without a fire or a cup of tea because nobody had brought any wood down from the village that day, and the "
    "oldest of them said that he would never again stand and wait for a boat with so little to eat in his pockets."
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[LocalVoices]:
    async with local_voices() as made:
        yield made


def pid_of(provider: LocalVoices) -> int:
    return int(provider.health().detail.split("process ")[1].split()[0])


def request(voice: str | None = None) -> SpeechRequest:
    return SpeechRequest(model="voice", voice=voice)


# Who speaks


async def test_the_best_voice_speaks_and_health_names_it(provider: LocalVoices) -> None:
    sounds = await spoken(provider, "Hello there.")
    assert {sound.rate for sound in sounds} == {24_000}
    health = provider.health()
    assert health.state == "ok" and health.detail.startswith("heart, process ")


async def test_the_voice_of_the_settings_speaks_where_it_is() -> None:
    async with local_voices(TtsSettings(local_voice="slt")) as provider:
        assert {sound.rate for sound in await spoken(provider, "Hello there.")} == {16_000}
        assert provider.health().detail.startswith("slt (flite), as plugins.tts.local_voice says")


async def test_a_voice_of_the_settings_that_is_not_there_is_told() -> None:
    async with local_voices(TtsSettings(local_voice="nobody")) as provider:
        assert {sound.rate for sound in await spoken(provider, "Hello there.")} == {24_000}
        health = provider.health()
        assert health.state == "degraded" and "there is no voice 'nobody' here" in health.detail


async def test_where_a_model_is_cut_the_next_voice_speaks_and_health_says_why(tmp_path: Path) -> None:
    cut_off = tmp_path / "my-hibari.onnx"
    cut_off.write_bytes(packaged().read_bytes()[:100_000])
    async with local_voices(TtsSettings(local_model_path=cut_off)) as provider:
        assert [voice.id for voice in await provider.voices()][:2] == ["my-hibari", "heart"]
        assert {sound.rate for sound in await spoken(provider, "Hello there.")} == {24_000}
        health = provider.health()
        assert health.state == "degraded"
        assert health.detail.startswith("heart speaks, as the next best") and str(cut_off) in health.detail
        # Who names it is told, and gets no other.
        with pytest.raises(ModelUnavailable, match="cannot be loaded as hibari"):
            await spoken(provider, "Hello there.", voice="my-hibari")


async def test_a_file_of_another_hash_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "hibari.onnx"
    other.write_bytes(packaged().read_bytes()[:-1])
    voices = ModelVoices(VoiceModel("hibari", other, "heart", (HEART,), SHA256), 1)
    with pytest.raises(ModelUnavailable, match="is not the file that is known by this name"):
        async for _ in voices.speak(HEART, 1.0, "Hello there."):
            pass
    assert voices.health().state == "degraded"
    await voices.aclose()


# What a voice reads


@pytest.mark.parametrize(
    ("text", "voice", "says"),
    [
        ("你好，今天天气怎么样？", None, "does not read Chinese characters; voices of this machine that do: cmn"),
        ("Привет, как дела?", None, "heart does not read Cyrillic; voices of this machine that do: ru"),
        ("Привет, как дела?", "kal16", "kal16 does not read Cyrillic"),
        ("مرحبا كيف حالك", "heart", "does not read Arabic; voices of this machine that do: ar"),
        ("こんにちは世界", "en-us", "en-us does not read Japanese; voices of this machine that do: ja"),
        ("Γειά σου", "heart", "does not read Greek"),
        ("ཀཁག", "heart", "has no sound for this text"),
    ],
)
async def test_a_writing_that_a_voice_does_not_read_is_refused(
    provider: LocalVoices, text: str, voice: str | None, says: str
) -> None:
    with pytest.raises(InvalidRequest) as told:
        await spoken(provider, text, voice)
    assert told.value.field == "text" and says in told.value.message


async def test_a_foreign_word_in_an_english_text_refuses_nothing(provider: LocalVoices) -> None:
    for text in (
        "The Greek letter α stands first.",
        "A café in Zürich, naïve as it was.",
        "Say 你好 to my old friend.",
    ):
        assert await spoken(provider, text)


@pytest.mark.parametrize(
    ("language", "text", "rate"),
    [
        ("de", "Guten Tag.", 22_050),
        ("zh-CN", "你好，世界。", 22_050),
        ("ru", "Привет.", 22_050),
        ("en-GB", "Good day.", 24_000),
    ],
)
async def test_a_language_chooses_a_voice_that_speaks_it(
    provider: LocalVoices, language: str, text: str, rate: int
) -> None:
    assert {sound.rate for sound in await spoken(provider, text, language=language)} == {rate}


@pytest.mark.parametrize(
    ("voice", "language", "speed", "field", "says"),
    [
        ("nobody", None, 1.0, "voice", "there is no voice 'nobody' on this machine; some that are there: heart"),
        ("emma", None, 1.0, "voice", "there is no voice 'emma'"),
        ("heart", "de", 1.0, "voice", "heart does not speak 'de'; voices of this machine that do: de"),
        ("kal16", "fr", 1.0, "voice", "kal16 does not speak 'fr'"),
        (None, "tlh", 1.0, "language", "no voice of this machine speaks 'tlh'"),
        ("heart", None, 4.0, "speed", "at 0.5 to 2 times"),
    ],
)
async def test_what_no_voice_does_is_named(
    provider: LocalVoices, voice: str | None, language: str | None, speed: float, field: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as told:
        provider.check(SpeechRequest(model="voice", voice=voice, language=language, speed=speed))
    assert told.value.field == field and says in told.value.message


# How it sounds


async def test_the_same_text_gives_the_same_samples_at_the_level_of_speech(provider: LocalVoices) -> None:
    for text in ("The boat is green.", "STOP! Do that again, and I shall call your mother."):
        once, again = pcm_of(await spoken(provider, text)), pcm_of(await spoken(provider, text))
        assert once == again
        peak = max(map(abs, array("h", once))) / 32_767
        assert 0.4 < peak <= CEILING + 0.001


async def test_speed_changes_how_long_it_takes(provider: LocalVoices) -> None:
    slow, own, fast = [len(pcm_of(await spoken(provider, LONG[:110], speed=speed))) for speed in (0.5, 1.0, 2.0)]
    assert slow > 1.6 * own and own > 1.5 * fast


# Its process


async def test_a_process_that_is_killed_while_it_speaks_is_replaced_and_no_sample_is_lost(
    provider: LocalVoices,
) -> None:
    undisturbed = pcm_of(await spoken(provider, LONG))
    before = pid_of(provider)
    sounds: list[Sound] = []
    async with asyncio.timeout(60), aclosing(provider.speak(request(), LONG)) as speech:  # type: ignore[type-var]
        async for sound in speech:
            if not sounds:
                os.kill(before, signal.SIGKILL)
            sounds.append(sound)
    assert pcm_of(sounds) == undisturbed
    assert pid_of(provider) != before


async def test_a_voice_that_dies_again_and_again_fails_and_another_speaks_for_a_while() -> None:
    async with local_voices() as provider:
        sounds: list[Sound] = []
        killed: set[int] = set()
        with pytest.raises(EngineError) as told:
            async with asyncio.timeout(120), aclosing(provider.speak(request(), LONG * 12)) as speech:  # type: ignore[type-var]
                async for sound in speech:
                    sounds.append(sound)
                    if (detail := provider.health().detail).startswith("heart, process"):
                        killed.add(pid := int(detail.split("process ")[1].split()[0]))
                        # What it had said is told before its end is known.
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        assert told.value.retryable and sounds and len(killed) == LIVES
        assert {sound.rate for sound in await spoken(provider, "Hello there.")} != {24_000}
        health = provider.health()
        assert health.state == "degraded" and "ended 3 times one after the other" in health.detail
        with pytest.raises(ModelUnavailable) as named:
            provider.check(request("heart"))
        assert named.value.retryable


async def test_four_speeches_at_once_are_each_whole(provider: LocalVoices) -> None:
    texts = [LONG, "The boat is green.", f"Then {LONG}", "What is the weather like?"]
    alone = [pcm_of(await spoken(provider, text)) for text in texts]
    together = await asyncio.gather(*(spoken(provider, text) for text in texts))
    assert [pcm_of(each) for each in together] == alone
