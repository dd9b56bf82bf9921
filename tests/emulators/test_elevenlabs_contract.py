"""The official client of ElevenLabs understands the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from tests.databases import unavailable
from tests.emulators.elevenlabs import RATE, SUBSCRIPTION, VOICES, ElevenLabsEmulator
from tests.emulators.reply import Fault
from tests.emulators.sound import spoken

KEY = "el-test-0123456789"


@pytest.fixture
async def vendor() -> AsyncIterator[ElevenLabsEmulator]:
    async with ElevenLabsEmulator(key=KEY) as emulator:
        yield emulator


@pytest.fixture
async def client(vendor: ElevenLabsEmulator) -> AsyncIterator[Any]:
    if find_spec("elevenlabs") is None:
        unavailable("the package elevenlabs is not installed")
    async with httpx.AsyncClient() as http:
        yield import_module("elevenlabs.client").AsyncElevenLabs(
            api_key=KEY, base_url=vendor.base_url, httpx_client=http
        )


async def test_it_reads_the_subscription_as_one_of_its_own(client: Any) -> None:
    kind = import_module("elevenlabs.types").Subscription
    told = await client.user.subscription.get()
    # The client takes what comes; its type, asked to, checks each field.
    assert kind.model_validate(SUBSCRIPTION) == told
    assert {name for name, field in kind.model_fields.items() if field.is_required()} <= SUBSCRIPTION.keys()
    assert (told.character_count, told.character_limit) == (31_000, 100_000)


async def test_it_lists_the_voices(client: Any) -> None:
    assert {voice.voice_id: voice.name for voice in (await client.voices.get_all()).voices} == VOICES


async def test_it_is_spoken_to(client: Any) -> None:
    stream = client.text_to_speech.stream(
        next(iter(VOICES)), text="one two", model_id="eleven_flash_v2_5", output_format=f"pcm_{RATE}"
    )
    assert b"".join([piece async for piece in stream]) == spoken("one two", RATE)


async def test_it_raises_its_error_with_the_reason(vendor: ElevenLabsEmulator, client: Any) -> None:
    error = import_module("elevenlabs.core.api_error").ApiError
    vendor.script.append(Fault.because("quota"))
    with pytest.raises(error) as caught:
        await client.user.subscription.get()
    assert (caught.value.status_code, caught.value.body["detail"]["status"]) == (401, "quota_exceeded")
