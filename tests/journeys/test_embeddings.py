"""Embeddings, asked by the unmodified `openai` client of a whole server with its vendors behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Literal

import openai
import pytest
import pytest_asyncio

from tests.emulators.base import Emulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault
from tests.server import CHAT, engine_inside

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Google's SDK makes its own kind of aiohttp session.
    pytest.mark.filterwarnings(
        "ignore:Inheritance class AiohttpClientSession from ClientSession is discouraged:DeprecationWarning"
    ),
]

MODELS = {
    "openai": "openai/text-embedding-3-small",
    "mistral": "mistral/mistral-embed",
    "lab": "lab/any",
    "google": "gemini-embedding-001",
}
TEXTS = ["A name for a boat", "The weather in Oslo"]


class Behind:
    """Vendors, emulated, behind one server, and the official client in front of it."""

    def __init__(self, client: openai.AsyncOpenAI, vendors: dict[str, Emulator]) -> None:
        self.client = client
        self.vendors = vendors


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with OpenAIEmulator() as compatible, GoogleEmulator() as google:
        settings = {
            **CHAT,
            "models.embedding": MODELS["openai"],
            "models.retries": 1,
            "vendors.compatible.servers": {"lab": {"base_url": compatible.base_url, "api_key": "sk-lab"}},
            "vendors.google.base_url": google.base_url,
            "vendors.mistral.base_url": compatible.base_url,
            "vendors.mistral.api_keys": ["sk-mistral-2"],
        }
        environ = {
            "OPENAI_API_KEY": "sk-test-0123456789",
            "OPENAI_BASE_URL": compatible.base_url,
            "MISTRAL_API_KEY": "sk-mistral",
            "GEMINI_API_KEY": "test-0123456789",
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, environ) as engine:
            address = f"http://127.0.0.1:{engine.port}/v1"
            async with openai.AsyncOpenAI(api_key="any", base_url=address, max_retries=0) as client:
                vendors = dict.fromkeys(MODELS, compatible) | {"google": google}
                yield Behind(client, vendors)  # type: ignore[arg-type]


@pytest.fixture
def behind(shared: Behind) -> Iterator[Behind]:
    for vendor in shared.vendors.values():
        vendor.script.clear()
        vendor.documents.clear()
        vendor.requests.clear()
    yield shared


@pytest.mark.parametrize("vendor", MODELS)
async def test_each_text_has_its_vector_whoever_answers(behind: Behind, vendor: str) -> None:
    both = await behind.client.embeddings.create(model=MODELS[vendor], input=TEXTS)
    one = await behind.client.embeddings.create(model=MODELS[vendor], input=TEXTS[1], encoding_format="float")
    assert [row.index for row in both.data] == [0, 1]
    assert both.data[1].embedding == pytest.approx(one.data[0].embedding)
    assert both.data[0].embedding != both.data[1].embedding
    assert both.usage.prompt_tokens > one.usage.prompt_tokens > 0
    assert both.model.startswith(f"{vendor}/")


@pytest.mark.parametrize("vendor", ["openai", "google"])
async def test_vectors_are_shortened_where_it_is_asked(behind: Behind, vendor: str) -> None:
    made = await behind.client.embeddings.create(model=MODELS[vendor], input="boat", dimensions=7)
    assert len(made.data[0].embedding) == 7


async def test_tokens_and_fields_of_the_vendors_own_go_through(behind: Behind) -> None:
    await behind.client.embeddings.create(model=MODELS["openai"], input=[[1, 2], [3]], user="u1")
    assert behind.vendors["openai"].requests[0].body["input"] == [[1, 2], [3]]
    assert behind.vendors["openai"].requests[0].body["user"] == "u1"


async def test_no_model_is_the_default_one(behind: Behind) -> None:
    made: Any = await behind.client.post("/embeddings", body={"input": "boat"}, cast_to=object)
    assert made["model"] == MODELS["openai"]


async def test_a_failure_that_passes_is_tried_again(behind: Behind) -> None:
    vendor = behind.vendors["openai"]
    vendor.script.append(Fault.because("server"))
    made = await behind.client.embeddings.create(model=MODELS["openai"], input="boat")
    assert len(made.data) == 1
    assert len(vendor.requests) == 2


async def test_another_key_of_the_vendor_is_asked_where_one_is_held_back(behind: Behind) -> None:
    vendor = behind.vendors["mistral"]
    vendor.script.append(Fault.because("rate_limit", retry_after=60))
    for _ in range(2):
        await behind.client.embeddings.create(model=MODELS["mistral"], input="boat")
    first, *others = [request.headers["authorization"] for request in vendor.requests]
    assert len(others) == 2 and {first, *others} == {"Bearer sk-mistral", "Bearer sk-mistral-2"}
    assert first not in others


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault.because("rate_limit", retry_after=60), openai.RateLimitError),
        (Fault.because("invalid_key"), openai.InternalServerError),
        (Fault.because("bad_request"), openai.BadRequestError),
    ],
)
@pytest.mark.parametrize("vendor", ["openai", "google"])
async def test_a_failure_raises_the_exception_that_fits_and_tells_no_key(
    behind: Behind, vendor: str, fault: Fault, raised: type[openai.APIStatusError]
) -> None:
    behind.vendors[vendor].script += [fault] * 2
    with pytest.raises(raised) as caught:
        await behind.client.embeddings.create(model=MODELS[vendor], input="boat")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [[1], []]}, "input.1"),
        ({"input": ["a", 1]}, "input.1"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_is_wrong_is_named(behind: Behind, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await behind.client.embeddings.create(**{"model": MODELS["openai"], "input": "boat", **fields})
    assert caught.value.param == param
    assert behind.vendors["openai"].requests == []


async def test_a_model_for_chat_is_none_for_embeddings(behind: Behind) -> None:
    with pytest.raises(openai.NotFoundError, match="for chat, not for embedding"):
        await behind.client.embeddings.create(model="gpt-6.2-sol", input="boat")


async def test_tokens_are_not_for_google(behind: Behind) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await behind.client.embeddings.create(model=MODELS["google"], input=[[1, 2]])
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize("vendor", ["openai", "google"])
async def test_an_answer_that_breaks_off_is_a_failure_of_the_vendor(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].documents.append(b'{"data": [{"embedding": [0.5')
    with pytest.raises(openai.InternalServerError, match="broke its protocol") as caught:
        await behind.client.embeddings.create(model=MODELS[vendor], input="boat")
    assert caught.value.status_code == 502


async def test_a_vendor_that_refuses_base64_is_asked_for_numbers_from_then_on(behind: Behind) -> None:
    vendor = behind.vendors["lab"]
    vendor.script.append(Fault.because("bad_request", message="Unknown field: encoding_format"))
    for _ in range(2):
        made = await behind.client.embeddings.create(model=MODELS["lab"], input="boat", encoding_format="float")
        assert len(made.data[0].embedding) == 4
    assert ["encoding_format" in request.body for request in vendor.requests] == [True, False, False]


async def test_an_empty_text_is_for_the_vendor_to_judge(behind: Behind) -> None:
    made = await behind.client.embeddings.create(model=MODELS["openai"], input=["a", ""])
    assert len(made.data) == 2


@pytest.mark.parametrize("vendor", ["openai", "google"])
@pytest.mark.parametrize("asked", ["float", "base64"])
async def test_others_are_served_while_a_large_answer_is_read_and_written(
    behind: Behind, vendor: str, asked: Literal["float", "base64"]
) -> None:
    row = "[" + ",".join(["0.123456789"] * 1_536) + "]"
    rows = (
        [{"embedding": f"{row}", "index": at} for at in range(256)] if vendor == "openai" else [{"values": row}] * 256
    )
    document = json.dumps({"data" if vendor == "openai" else "embeddings": rows})
    behind.vendors[vendor].documents.append(document.replace('"[', "[").replace(']"', "]").encode())
    turns = await turns_during(
        behind.client.embeddings.create(model=MODELS[vendor], input=["x"] * 256, encoding_format=asked)
    )
    # On the loop it would turn some hundred times: once for each piece that is read and written.
    assert turns > 4_000


async def turns_during(work: Awaitable[Any]) -> int:
    """How often the event loop turned in another thread's time: while it had nothing to do but wait for `work`."""
    ended = asyncio.ensure_future(work)
    turns = 0
    while not ended.done():
        await asyncio.sleep(0)
        turns += 1
    await ended
    return turns
