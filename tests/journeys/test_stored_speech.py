"""A text is spoken into the object store: its owner gets a link, whoever has the link hears it, and nobody else."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.api import Principal
from engine.auth.keys import ApiKeys
from engine.main import Engine
from plugins.vendors.codecs import decode
from tests.emulators.openai import SPEECH_RATE, OpenAIEmulator
from tests.emulators.reply import Fault, Hold
from tests.emulators.sound import SECONDS_A_WORD, Sing, spoken
from tests.server import Settings, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a secret of thirty-two characters"
SETTINGS: Settings = {
    "plugins.enabled": ["tts", "storage"],
    "plugins.storage.quota": 200_000,
    "models.retries": 0,
    "models.breaker_failures": 1000,
    "auth.mode": "keys",
    "auth.secret": SECRET,
}
MODEL = "openai/gpt-4o-mini-tts"
TEXT = "one two three"
ADA, BOB, FULL = Principal("ada"), Principal("bob"), Principal("full")

Json = dict[str, Any]


class Storing:
    """A server with voices and a store, its vendor, and a client of each principal."""

    def __init__(self, engine: Engine, folder: Path, vendor: OpenAIEmulator) -> None:
        self.engine = engine
        self.folder = folder
        self.vendor = vendor
        self.url = f"http://127.0.0.1:{engine.port}"
        self.keys = ApiKeys(engine.databases.database(), SECRET.encode())

    async def client(self, who: Principal | None) -> aiohttp.ClientSession:
        headers = {}
        if who is not None:
            key, _ = await self.keys.create(who.id, "test")
            headers["Authorization"] = f"Bearer {key}"
        return aiohttp.ClientSession(self.url, headers=headers)

    async def speak(self, who: Principal, headers: Json | None = None, **body: object) -> tuple[int, Json]:
        asked = {"text": TEXT, "model": MODEL, "store": True, **body}
        async with await self.client(who) as http, http.post("/api/v1/tts", json=asked, headers=headers) as answer:
            return answer.status, await answer.json()

    def files(self) -> list[Path]:
        return [path for path in (self.folder / "objects").rglob("*") if path.is_file()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Storing]:
    folder = tmp_path_factory.mktemp("server")
    async with OpenAIEmulator() as vendor, engine_inside(folder, SETTINGS, behind(vendor)) as engine:
        yield Storing(engine, folder, vendor)


@pytest_asyncio.fixture(loop_scope="module")
async def storing(shared: Storing) -> Storing:
    """The server with nothing in its store."""
    store = shared.engine.registry.objects()
    for who in (ADA, BOB, FULL):
        for stored in (await store.page(who)).objects:
            await store.delete(who, stored.id)
    shared.vendor.script.clear()
    shared.vendor.sounds.clear()
    shared.vendor.requests.clear()
    shared.vendor.closed_by_client.clear()
    return shared


async def test_whoever_has_the_link_hears_the_speech_whole_and_in_parts(storing: Storing) -> None:
    status, told = await storing.speak(ADA, format="pcm")
    sound = spoken(TEXT, SPEECH_RATE)
    assert (status, told["model"], told["object"]["size"]) == (200, MODEL, len(sound))
    assert (told["object"]["origin"], told["object"]["content_type"]) == (told["stream"], "audio/pcm")
    async with await storing.client(None) as anybody:
        async with anybody.get(told["link"]["url"]) as answer:
            assert (answer.status, await answer.read()) == (200, sound)
            assert answer.headers["Content-Disposition"] == 'inline; filename="speech.pcm"'
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with anybody.get(told["link"]["url"], headers={"Range": "bytes=100-199"}) as answer:
            assert (answer.status, await answer.read()) == (206, sound[100:200])


async def test_a_link_that_was_changed_or_belongs_to_another_object_is_refused(storing: Storing) -> None:
    _, one = await storing.speak(ADA, format="pcm")
    _, other = await storing.speak(ADA, format="pcm")
    url = one["link"]["url"]
    wrong = [
        url.replace("expires=", "expires=9"),
        url.replace(one["object"]["id"], other["object"]["id"]),
        url[:-1] + "!",
    ]
    async with await storing.client(None) as anybody:
        told = []
        for address in wrong:
            async with anybody.get(address) as answer:
                told.append((answer.status, (await answer.json())["code"]))
    assert told == [(403, "link_invalid"), (403, "link_invalid"), (400, "invalid_request")]


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac"])
async def test_each_format_is_stored_whole(storing: Storing, format: str) -> None:
    _, told = await storing.speak(ADA, format=format)
    async with await storing.client(ADA) as http, http.get(f"{objects(told)}/content") as answer:
        sound = await answer.read()
        assert answer.headers["Content-Type"] == told["object"]["content_type"]
    heard = sum(map(len, decode(io.BytesIO(sound), 16_000))) / 32_000
    assert heard == pytest.approx(3 * SECONDS_A_WORD, abs=0.1)


async def test_a_stored_wave_file_tells_its_true_length(storing: Storing) -> None:
    _, told = await storing.speak(ADA, format="wav")
    async with await storing.client(None) as anybody, anybody.get(told["link"]["url"]) as answer:
        with wave.open(io.BytesIO(await answer.read())) as file:
            assert (file.getframerate(), file.getnframes()) == (SPEECH_RATE, 3 * SECONDS_A_WORD * SPEECH_RATE)


async def test_another_principal_neither_sees_nor_deletes_it(storing: Storing) -> None:
    _, told = await storing.speak(ADA, format="pcm")
    address = objects(told)
    async with await storing.client(BOB) as bob:
        async with bob.get("/api/v1/storage/objects") as answer:
            assert (await answer.json())["objects"] == []
        for method, at in (
            ("GET", address),
            ("GET", f"{address}/content"),
            ("POST", f"{address}/link"),
            ("DELETE", address),
        ):
            async with bob.request(method, at) as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "object_not_found"), method
    async with await storing.client(None) as anybody, anybody.get(address) as answer:
        assert answer.status == 401


async def test_its_owner_lists_lends_and_deletes_it(storing: Storing) -> None:
    _, told = await storing.speak(ADA, format="pcm")
    async with await storing.client(ADA) as ada, await storing.client(None) as anybody:
        async with ada.get("/api/v1/storage/objects") as answer:
            page = await answer.json()
        async with ada.get(objects(told)) as answer:
            assert page["objects"] == [await answer.json()] == [told["object"]]
        assert (page["used"], page["quota"]) == (told["object"]["size"], 200_000)
        async with ada.post(f"{objects(told)}/link", json={"seconds": 5}) as answer:
            link = await answer.json()
        async with anybody.get(link["url"]) as answer:
            assert answer.status == 200
        async with ada.delete(objects(told)) as answer:
            assert answer.status == 204
        for url in (link["url"], told["link"]["url"]):
            async with anybody.get(url) as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "object_not_found")
    assert storing.files() == []


async def test_a_speech_that_breaks_off_is_an_error_and_not_kept(storing: Storing) -> None:
    storing.vendor.sounds.append(Sing(cut=2))
    status, problem = await storing.speak(ADA, format="wav")
    assert (status, problem["code"]) == (502, "provider_unavailable")
    storing.vendor.script.append(Fault.because("invalid_key"))
    status, problem = await storing.speak(ADA, format="mp3")
    assert (status, problem["code"]) == (502, "provider_refused")
    assert storing.files() == []


async def test_a_speech_past_the_quota_is_refused_and_stops_the_vendor(storing: Storing) -> None:
    storing.vendor.sounds.append(Sing(holds={60: Hold()}))
    status, problem = await storing.speak(FULL, format="pcm", text=" ".join(["word"] * 40))
    assert (status, problem["code"]) == (413, "quota_exceeded")
    await storing.vendor.hung_up()
    assert storing.files() == []


async def test_who_hangs_up_stops_the_vendor_and_leaves_nothing(storing: Storing) -> None:
    hold = Hold()
    storing.vendor.sounds.append(Sing(holds={1: hold}))
    asking = asyncio.create_task(storing.speak(ADA, format="pcm"))
    await storing.vendor.received(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await storing.vendor.hung_up()
    assert (await storing.engine.registry.objects().page(ADA)).objects == []


async def test_requests_of_one_key_at_once_get_one_object(storing: Storing) -> None:
    key = {"Idempotency-Key": "many-boats"}
    answers = await asyncio.gather(*(storing.speak(ADA, key, format="pcm") for _ in range(5)))
    assert {status for status, _ in answers} == {200}
    assert len({told["object"]["id"] for _, told in answers}) == 1
    assert len(storing.files()) == 1


async def test_a_retry_under_one_key_gets_the_same_object_and_is_spoken_once(storing: Storing) -> None:
    key = {"Idempotency-Key": "the-boat"}
    first = await storing.speak(ADA, key, format="pcm")
    again = await storing.speak(ADA, key, format="pcm")
    assert again[1]["object"] == first[1]["object"]
    assert (again[1]["stream"], again[1]["usage"]) == (first[1]["stream"], first[1]["usage"])
    assert len(storing.vendor.requests) == 1


async def test_without_a_store_nothing_is_spoken(tmp_path: Path) -> None:
    settings = {**SETTINGS, "plugins.enabled": ["tts"]}
    async with OpenAIEmulator() as vendor, engine_inside(tmp_path, settings, behind(vendor)) as engine:
        status, problem = await Storing(engine, tmp_path, vendor).speak(ADA)
        assert (status, problem["code"]) == (404, "feature_disabled")
        assert vendor.requests == []


async def test_links_outlive_a_restart_and_end_with_the_secret(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        async with engine_inside(tmp_path, SETTINGS, behind(vendor)) as engine:
            _, told = await Storing(engine, tmp_path, vendor).speak(ADA, format="pcm")
        for secret, status in ((SECRET, 200), ("another secret of that length, or so", 403)):
            again = {**SETTINGS, "auth.secret": secret}
            async with (
                engine_inside(tmp_path, again, behind(vendor)) as engine,
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{engine.port}{told['link']['url']}") as answer,
            ):
                assert answer.status == status


def objects(told: Json) -> str:
    return f"/api/v1/storage/objects/{told['object']['id']}"
