"""One script for every vendor: holds, faults among pieces, several events in one write."""

import aiohttp
import pytest

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.base import Emulator, RecordedRequest
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse, words

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
VENDORS = [
    (OpenAIEmulator, "/chat/completions", {**CHAT, "model": "m"}),
    (OpenAIEmulator, "/responses", {"model": "m", "input": "Hi", "stream": True}),
    (AnthropicEmulator, "/v1/messages", {**CHAT, "model": "m", "max_tokens": 9}),
    (
        GoogleEmulator,
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    ),
]
HEADERS = {"authorization": "Bearer k", "x-goog-api-key": "k", "anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(("vendor", "path", "body"), VENDORS)
async def test_a_hold_then_a_cut_among_the_pieces_stand_where_they_were_put(
    vendor: type[Emulator], path: str, body: dict[str, object]
) -> None:
    hold = Hold()
    async with vendor() as emulator, aiohttp.ClientSession(headers=HEADERS) as session:
        emulator.script.append(Say(pieces=["before", hold, "after", Fault.cut()]))
        async with session.post(emulator.base_url + path, json=body) as response:
            await hold.reached()
            early = await response.content.readany()
            hold.release()
            late = b""
            with pytest.raises(aiohttp.ClientPayloadError):
                while data := await response.content.readany():
                    late += data

    assert (b"before" in early, b"after" in early) == (True, False)
    assert b"after" in late
    assert emulator.closed_by_client == []


@pytest.mark.parametrize(("vendor", "path", "body"), VENDORS)
async def test_a_joined_reply_comes_in_one_chunk(vendor: type[Emulator], path: str, body: dict[str, object]) -> None:
    async with vendor() as emulator, aiohttp.ClientSession(headers=HEADERS) as session:
        emulator.script.append(Say("one two", tool_calls=[ToolUse("c", "f", {"a": 1})], join=True))
        async with session.post(emulator.base_url + path, json=body) as response:
            chunks = [data async for data, whole in response.content.iter_chunks() if whole]

    assert len([chunk for chunk in chunks if chunk]) == 1
    assert chunks[0].count(b"data: ") > 3


async def test_a_scripted_function_sees_the_request_it_answers() -> None:
    def answer(record: RecordedRequest) -> Say:
        return Say(f"You asked {record.body['model']}")

    async with OpenAIEmulator() as emulator, aiohttp.ClientSession(headers=HEADERS) as session:
        emulator.otherwise = answer
        url = f"{emulator.base_url}/chat/completions"
        async with session.post(url, json={"model": "m", "messages": CHAT["messages"]}) as response:
            body = await response.json()

    assert body["choices"][0]["message"]["content"] == "You asked m"
    assert emulator.requests[0].headers["Authorization"] == "Bearer k"


async def test_a_stopped_emulator_lets_go_of_silent_clients_without_calling_it_a_hang_up() -> None:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        async with OpenAIEmulator() as emulator:
            emulator.script.append(Fault.silence(after=1))
            response = await session.post(f"{emulator.base_url}/chat/completions", json={**CHAT, "model": "m"})
            await emulator.streaming(1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    assert emulator.closed_by_client == []


@pytest.mark.parametrize("text", ["", "one", "two words", " odd  spaces "])
def test_words_join_to_the_text_they_were_cut_from(text: str) -> None:
    assert "".join(words(text)) == text
