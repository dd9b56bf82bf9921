"""Clients and vendors that do it wrong: each gets a stable code and a sentence that helps, and nobody else notices.

Beside every test a second session has a turn under way, which must come through whole.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse
from tests.journeys.client import Frame, Gone, Socket, connected
from tests.journeys.raw_socket import RawSocket
from tests.server import CHAT, RunningServer, Start, behind, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "server.max_frame": 4096,
    "server.mailbox": 8,
    "bus.memory": 65536,
}

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def bystander(server: RunningServer, vendor: OpenAIEmulator) -> AsyncIterator[Socket]:
    """A second session whose turn runs before, during and after the test."""
    hold = Hold()
    vendor.script.append(Say(pieces=["before ", hold, "after"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Bystander")
        await socket.text_of(heard.stream, "before ")
        vendor.requests.clear()
        yield socket
        assert heard.ended is None
        hold.release()
        end = await socket.end_of(heard.stream)
        assert (heard.text, end["status"], end["saved"]) == ("before after", "completed", True)


@pytest.fixture(scope="module")
def impatient(shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that gives a vendor half a second for each sign of life."""
    settings = {**CHAT, "models.first_event_timeout": 0.5, "models.idle_timeout": 0.5}
    with serving(tmp_path_factory.mktemp("impatient"), settings, behind(shared_vendor)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def socket(server: RunningServer) -> AsyncIterator[Socket]:
    """A session, which must still serve when the test is over."""
    async with connected(server.url) as socket:
        yield socket
        pong = await socket.ask("ping")
        assert pong["type"] == "pong"


def check(error: Frame, code: str, says: str, field: str | None = None) -> None:
    """The error has its code, names the field, and says what helps."""
    assert (error["code"], error.get("field")) == (code, field), error
    assert says in error["message"], error


# Frames.


@pytest.mark.parametrize(
    ("data", "code", "says", "field"),
    [
        ("{not json", "invalid_frame", "not JSON", None),
        ("", "invalid_frame", "not JSON", None),
        ("[" * 2000, "invalid_request", "64 levels", None),
        ("[1, 2]", "invalid_frame", "JSON object", None),
        ('"chat.send"', "invalid_frame", "JSON object", None),
        ("{}", "invalid_frame", "'type'", "type"),
        ('{"type": 7}', "invalid_frame", "'type'", "type"),
        ('{"type": "chat.sent"}', "unknown_command", "chat.send", "type"),
        ('{"type": "image.make"}', "unknown_command", "image.make", "type"),
        ('{"type": "ping", "id": 7}', "invalid_request", "'id'", "id"),
        ('{"type": "chat.send", "input": "x", "key": 7}', "invalid_request", "'key'", "key"),
        ('{"type": "chat.send", "input": "x", "key": ""}', "invalid_request", "1 to 200", "key"),
        ('{"type": "chat.send", "input": "x", "on_disconnect": "never"}', "invalid_request", "cancel", "on_disconnect"),
        ('{"type": "session.authenticate"}', "invalid_request", "key", "key"),
    ],
)
async def test_a_frame_that_makes_no_sense_is_rejected_with_what_would(
    socket: Socket, data: str, code: str, says: str, field: str | None
) -> None:
    await socket.send_raw(data)
    error = (await socket.take("rejected"))["error"]
    check(error, code, says, field)


async def test_a_rejected_frame_tells_which_one_it_was(socket: Socket) -> None:
    await socket.send_raw('{"type": 7, "id": "mine"}')
    assert (await socket.take("rejected"))["re"] == "mine"


@pytest.mark.parametrize(
    ("body", "code", "says", "field"),
    [
        ({}, "invalid_request", "input", "input"),
        ({"input": None}, "invalid_request", "input", "input"),
        ({"input": 7}, "invalid_request", "input", "input"),
        ({"input": ""}, "invalid_request", "empty", "input"),
        ({"input": "   \n"}, "invalid_request", "empty", "input"),
        ({"input": []}, "invalid_request", "empty", "input"),
        ({"input": [{"type": "text", "text": ""}]}, "invalid_request", "empty", "input"),
        ({"input": "x", "colour": "red"}, "invalid_request", "colour", "colour"),
        ({"input": "x", "temprature": 1}, "invalid_request", "temperature", "temprature"),
        ({"input": "x", "temperature": "warm"}, "invalid_request", "temperature", "temperature"),
        ({"input": "x", "temperature": 9}, "invalid_request", "temperature", "temperature"),
        (
            {"input": "x", "conversation": "c_nowhere"},
            "conversation_not_found",
            "no conversation of this id",
            "conversation",
        ),
        ({"input": "x", "model": "gtp-6-astra"}, "model_not_found", "gpt-6-astra", "model"),
        ({"input": "x", "model": "claude-3-opus-20240229"}, "model_retired", "claude-opus-5-5", "model"),
        ({"input": "x", "model": "anthropic/any"}, "model_unavailable", "ANTHROPIC_API_KEY", "model"),
        ({"input": [{"type": "image", "data": "AAAA"}]}, "unsupported_media", "PNG", "input.0.data"),
        ({"input": [{"type": "image", "data": "not base64!"}]}, "invalid_request", "base64", "input.0.data"),
        ({"input": [{"type": "image", "url": "file:///etc/passwd"}]}, "invalid_request", "https://", "input.0.url"),
        ({"input": [{"type": "image"}]}, "invalid_request", "url or data", None),
        (
            {"input": [{"type": "image", "data": PIXEL, "media_type": "image/gif"}]},
            "unsupported_media",
            "image/png",
            "input.0.data",
        ),
        ({"input": "x", "tools": [TOOL, TOOL]}, "invalid_request", "weather", "tools"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_rejected_before_any_vendor_hears_of_it(
    socket: Socket, server: RunningServer, vendor: OpenAIEmulator, body: Frame, code: str, says: str, field: str | None
) -> None:
    answer = await socket.ask("chat.send", **body)
    assert answer["type"] == "rejected"
    if field is None:
        field = answer["error"].get("field")
    check(answer["error"], code, says, field)
    async with aiohttp.ClientSession() as http, http.post(f"{server.url}/api/v1/chat", json=body) as response:
        problem = await response.json()
    assert (response.content_type, problem["code"], problem["status"]) == (
        "application/problem+json",
        code,
        response.status,
    )
    assert 400 <= response.status < 600
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{not json", "application/json", 400, "invalid_request"),
        (b"", "application/json", 400, "invalid_request"),
        (b'"text"', "application/json", 400, "invalid_request"),
        (b'{"input": "\xff"}', "application/json", 400, "invalid_request"),
        (b'{"input": "x"}', "text/plain", 415, "unsupported_media"),
    ],
)
async def test_a_body_that_is_none_is_answered_with_a_problem(
    server: RunningServer, data: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/api/v1/chat", data=data, headers=headers) as response,
    ):
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (status, code)


async def test_an_address_with_a_line_end_is_answered_like_any_other(server: RunningServer) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(URL(f"{server.url}/api/v1/streams/a%0Ab", encoded=True)) as answer,
    ):
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
        assert (await answer.json())["code"] == "stream_not_found"


async def test_a_frame_above_the_bound_is_rejected_and_one_far_above_it_closes_the_socket(
    socket: Socket, server: RunningServer
) -> None:
    answer = await socket.ask("chat.send", input="x" * 5000)
    check(answer["error"], "too_large", "4096")
    async with connected(server.url) as other:
        await other.send("chat.send", input="x" * 50_000)
        assert await other.gone() == 1009


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"abc", "16 bytes"),
        (struct.pack(">IIBBHI", 1, 1, 9, 0, 0, 0), "version 9"),
        (struct.pack(">IIBBHI", 77, 1, 1, 0, 0, 0) + b"pcm", "77"),
        (b"", "16 bytes"),
    ],
)
async def test_a_binary_frame_where_none_is_due_is_rejected(socket: Socket, data: bytes, says: str) -> None:
    await socket.send_raw(data)
    check((await socket.take("rejected"))["error"], "invalid_frame", says)


async def test_text_that_is_no_utf8_closes_the_socket_with_the_code_for_it(server: RunningServer) -> None:
    async with RawSocket(server.port) as raw:
        await raw.frame(b'{"type": "ping", "id": "\xff\xfe"}')
        assert await raw.close_code() == 1007


# Too much.


async def test_ten_thousand_commands_at_once_are_all_answered_in_order(socket: Socket) -> None:
    count = 10_000

    async def flood() -> None:
        for i in range(count):
            await socket.send_raw(json.dumps({"type": "ping", "id": f"p{i}"}))

    await asyncio.gather(flood(), socket.until(lambda: len(socket.waiting) >= count, "all pongs"))
    assert [frame["re"] for frame in socket.waiting] == [f"p{i}" for i in range(count)]
    socket.waiting.clear()


async def test_more_starts_than_a_session_may_queue_are_rejected_and_the_rest_run(
    socket: Socket, vendor: OpenAIEmulator
) -> None:
    ids = [await socket.send("chat.send", input=f"q{i}", key=f"flood-{id(socket)}-{i}") for i in range(200)]
    answers = [await socket.answer(id) for id in ids]
    accepted = [answer["stream"] for answer in answers if answer["type"] == "accepted"]
    rejected = {answer["error"]["code"] for answer in answers if answer["type"] == "rejected"}
    for stream in accepted:
        assert (await socket.end_of(stream))["status"] == "completed"
    assert len(accepted) >= SETTINGS["server.mailbox"]
    assert rejected <= {"limit_exceeded"}
    assert len(vendor.requests) == len(accepted)


async def test_a_client_that_never_reads_holds_up_only_itself(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with RawSocket(server.port, receive_buffer=4096) as raw:
        vendor.script.append(Say(pieces=["x" * 50_000] * 100))
        await raw.frame(b'{"type": "chat.send", "input": "Much", "id": "c1"}')
        await vendor.received()
        await vendor.streaming(1)  # the bystander's
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                while sent < 1_000_000:
                    await raw.frame(b'{"type": "ping", "id": "%d"}' % sent)
                    sent += 1
        assert sent < 1_000_000
    async with connected(server.url) as other:
        heard = await other.chat("Still there?")
        assert (await other.end_of(heard.stream))["status"] == "completed"


async def test_a_reader_that_stops_for_a_while_falls_off_and_may_come_back(
    start: Start, vendor: OpenAIEmulator
) -> None:
    text, count = "y" * 40_000, 300  # more than a system's own buffers hold
    server = start({"limits.answer_characters": 2 * len(text) * count})
    hold = Hold()
    vendor.script.append(Say(pieces=[*[text] * count, hold, "end"]))
    async with RawSocket(server.port, receive_buffer=4096) as raw, connected(server.url, max_msg_size=0) as witness:
        await raw.frame(b'{"type": "chat.send", "input": "Much", "id": "c1"}')
        await hold.reached()
        frames = [json.loads(frame) async for frame in raw.frames_until("stream.detached")]
        detached = frames[-1]
        answer = await witness.ask("stream.resume", stream=detached["stream"], after=0)
        hold.release()
        await witness.end_of(detached["stream"])
    numbers = [frame["n"] for frame in frames if "n" in frame]
    assert numbers == list(range(1, detached["last"] + 1))
    assert (detached["error"]["code"], detached["error"]["retryable"]) == ("slow_consumer", True)
    assert answer["recovered"] is False
    assert witness.of(detached["stream"]).text == text * count + "end"


# Streams.


@pytest.mark.parametrize("command", ["stream.resume", "stream.cancel", "stream.detach"])
async def test_a_stream_that_nobody_knows_is_not_found(socket: Socket, command: str) -> None:
    answer = await socket.ask(command, stream="s_unknown")
    check(answer["error"], "stream_not_found", "s_unknown")


async def test_a_number_that_a_stream_never_had_is_refused(socket: Socket) -> None:
    heard = await socket.chat("Hi")
    await socket.end_of(heard.stream)
    answer = await socket.ask("stream.resume", stream=heard.stream, after=heard.last + 1)
    check(answer["error"], "invalid_request", f"number {heard.last}", "after")
    answer = await socket.ask("stream.resume", stream=heard.stream, after=-1)
    check(answer["error"], "invalid_request", "after", "after")


async def test_an_ended_stream_is_replayed_and_one_seen_to_its_end_brings_nothing(socket: Socket) -> None:
    heard = await socket.chat("Hi")
    await socket.end_of(heard.stream)
    first = dict(heard.end)
    again = await socket.ask("stream.resume", stream=heard.stream, after=heard.last)
    assert again["recovered"] is True
    socket.heard.clear()
    await socket.ask("stream.resume", stream=heard.stream)
    assert await socket.end_of(heard.stream) == first


async def test_an_expired_stream_is_told_from_what_was_written_down(
    socket: Socket, server: RunningServer, vendor: OpenAIEmulator
) -> None:
    heard = await socket.chat("Remember me")
    await socket.end_of(heard.stream)
    for _ in range(4):
        vendor.script.append(Say("z" * 60_000))
        await socket.end_of((await socket.chat("Much")).stream)
    async with connected(server.url) as later:
        answer = await later.ask("stream.resume", stream=heard.stream, after=1)
        later.of(heard.stream).last = 1
        end = await later.end_of(heard.stream)
    assert answer["recovered"] is False
    assert (later.of(heard.stream).text, end["status"], end["n"]) == ("Remember me", "completed", heard.last)


async def test_a_tool_result_for_no_call_is_refused(
    socket: Socket, server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.extend([Say(tool_calls=[ToolUse("call_1", "weather")]), Say("Mild.")])
    nothing = await socket.ask("tool.result", stream="s_unknown", call_id="call_1", output="x")
    heard = await socket.chat("Weather?", tools=[TOOL])
    await socket.until(lambda: "tool.call" in heard.kinds, "the call")
    wrong = await socket.ask("tool.result", stream=heard.stream, call_id="call_2", output="x")
    async with connected(server.url) as other:
        missing = await other.ask("tool.result", stream=heard.stream, call_id="call_1")
    right = await socket.ask("tool.result", stream=heard.stream, call_id="call_1", output="18 °C")
    end = await socket.end_of(heard.stream)
    late = await socket.ask("tool.result", stream=heard.stream, call_id="call_1", output="18 °C")
    check(nothing["error"], "tool_call_not_found", "stream", "stream")
    check(wrong["error"], "tool_call_not_found", "call_2", "call_id")
    check(missing["error"], "invalid_request", "output", "output")
    check(late["error"], "tool_call_not_found", "stream", "stream")
    assert (right["type"], heard.text, end["status"]) == ("accepted", "Mild.", "completed")


# Vendors.

SAYING = Say(pieces=["half ", "an answer"])


@pytest.mark.parametrize(
    ("fault", "code", "status", "says", "retry_after"),
    [
        (Fault.status(401), "provider_refused", 502, "OPENAI_API_KEY", None),
        (Fault.status(403), "provider_refused", 502, "OPENAI_API_KEY", None),
        (Fault.status(429), "provider_rate_limited", 429, "rate", None),
        (Fault.status(429, retry_after=7), "provider_rate_limited", 429, "rate", 7),
        (Fault.because("quota"), "provider_rate_limited", 429, "quota", None),
        (Fault.status(500), "provider_unavailable", 502, "OpenAI", None),
        (Fault.status(503, body="<html>oops</html>"), "provider_unavailable", 502, "503", None),
        (Fault.because("model_not_found"), "model_not_found", 404, "model", None),
        (Fault.because("context_too_long"), "context_too_long", 400, "too long", None),
        (Fault.refuse(), "provider_unavailable", 502, "OpenAI", None),
        (Fault.malformed(), "provider_error", 502, "protocol", None),
        (Fault.error_event(), "provider_unavailable", 502, "OpenAI", None),
    ],
)
async def test_a_vendor_that_fails_before_its_first_word(
    socket: Socket,
    server: RunningServer,
    vendor: OpenAIEmulator,
    fault: Fault,
    code: str,
    status: int,
    says: str,
    retry_after: float | None,
) -> None:
    vendor.script.extend([fault, fault])
    heard = await socket.chat("Hi")
    end = await socket.end_of(heard.stream)
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/api/v1/chat", json={"input": "Hi"}) as response,
    ):
        problem = await response.json()
    assert (end["status"], end["reason"], end["saved"]) == ("failed", "provider_error", True)
    assert (end["error"]["code"], end["error"].get("retry_after")) == (code, retry_after)
    assert says.lower() in end["error"]["message"].lower()
    assert "sk-test" not in json.dumps(end)
    assert heard.kinds.count("stream.ended") == 1
    assert (response.status, problem["code"]) == (status, code)
    assert response.headers.get("Retry-After") == (None if retry_after is None else "7")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.cut(), "provider_unavailable"),
        (Fault.malformed(), "provider_error"),
        (Fault.error_event(condition="overloaded"), "provider_unavailable"),
    ],
    ids=["cut", "malformed", "error_event"],
)
async def test_a_vendor_that_fails_in_mid_answer_leaves_what_it_said(
    socket: Socket, server: RunningServer, vendor: OpenAIEmulator, fault: Fault, code: str
) -> None:
    vendor.script.append(Say(pieces=["half ", fault, "never"]))
    heard = await socket.chat("Hi")
    end = await socket.end_of(heard.stream)
    saved = next(event for event in heard.events if event["type"] == "message.saved")
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/api/v1/conversations/{saved['conversation']}") as response,
    ):
        answer = (await response.json())["messages"][-1]
    assert (heard.text, end["status"], end["error"]["code"]) == ("half ", "failed", code)
    assert (answer["text"], answer["status"], answer["error"]["code"]) == ("half ", "failed", code)
    assert len(vendor.requests) == 1


async def test_a_vendor_that_falls_silent_is_given_up_at_the_deadline(
    impatient: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.extend([Fault.silence(), Fault.silence(), Say(pieces=["half ", Fault.silence()])])
    async with connected(impatient.url) as socket, aiohttp.ClientSession() as http:
        mute = await socket.chat("Hi")
        end = await socket.end_of(mute.stream)
        async with http.post(f"{impatient.url}/api/v1/chat", json={"input": "Hi"}) as response:
            problem = await response.json()
        halting = await socket.chat("Hi")
        halted = await socket.end_of(halting.stream)
    await vendor.hung_up(3)
    assert (mute.text, end["status"], end["error"]["code"]) == ("", "failed", "provider_timeout")
    assert "0.5 s" in end["error"]["message"]
    assert (response.status, problem["code"]) == (504, "provider_timeout")
    assert (halting.text, halted["status"], halted["error"]["code"]) == ("half ", "failed", "provider_timeout")


async def test_a_session_whose_reader_is_gone_says_so_to_a_late_sender(server: RunningServer) -> None:
    async with connected(server.url) as socket:
        await socket.close()
        with pytest.raises((ConnectionError, aiohttp.ClientError, Gone)):
            await socket.ask("ping")
