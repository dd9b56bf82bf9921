"""A chat turn as clients meet it: over the socket, over HTTP, as server-sent events, on several devices at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say, Usage
from tests.journeys.client import Frame, connected, events_of
from tests.server import MODEL, RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = {"Accept": "text/event-stream"}


async def post(server: RunningServer, body: dict[str, Any], **headers: str) -> tuple[int, Frame]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/api/v1/chat", json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


async def get(server: RunningServer, path: str) -> Frame:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path}") as response:
        assert response.status == 200, await response.text()
        body: Frame = await response.json()
        return body


# The three ways in.


async def test_a_turn_over_the_socket_tells_all_from_start_to_end(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say("Hello there, friend.", usage=Usage(7, 4)))
    async with connected(server.url) as socket:
        accepted = await socket.ask("chat.send", input="Hi", model=MODEL)
        end = await socket.end_of(accepted["stream"])
        heard = socket.of(accepted["stream"])
    assert accepted["recovered"] is True
    assert heard.kinds == ["stream.started", "text.delta", "message.saved", "stream.ended"]
    assert heard.events[0]["model"] == MODEL
    assert heard.text == "Hello there, friend."
    assert (end["status"], end["reason"], end["finish_reason"], end["saved"]) == ("completed", "done", "stop", True)
    assert (end["model"], end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (MODEL, 7, 4)


async def test_a_turn_over_http_waits_for_the_end_and_answers_as_json(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say("Hello there.", usage=Usage(3, 2)))
    status, answer = await post(server, {"input": "Hi"})
    assert status == 200
    assert (answer["text"], answer["status"], answer["finish_reason"]) == ("Hello there.", "completed", "stop")
    conversation = await get(server, f"/api/v1/conversations/{answer['conversation']}")
    assert [(m["role"], m["text"]) for m in conversation["messages"]] == [("user", "Hi"), ("assistant", "Hello there.")]
    assert conversation["messages"][-1]["id"] == answer["message"]


async def test_a_turn_as_server_sent_events_comes_while_it_is_said(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["Hello ", hold, "there."]))
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/api/v1/chat", json={"input": "Hi"}, headers=EVENTS) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")
        text, numbers, kinds = "", [], []
        async for number, frame in events_of(response):
            numbers.append(number)
            kinds.append(frame["type"])
            text += frame.get("text", "")
            if text == "Hello ":
                hold.release()
    assert text == "Hello there."
    assert numbers == list(range(1, len(numbers) + 1))
    assert (kinds[0], kinds[-1], kinds.count("stream.ended")) == ("stream.started", "stream.ended", 1)


async def test_the_next_turn_of_a_conversation_knows_the_one_before(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.extend([Say("Blue."), Say("I said blue.")])
    _, first = await post(server, {"input": "A colour?"})
    _, second = await post(server, {"input": "Which?", "conversation": first["conversation"]})
    assert second["conversation"] == first["conversation"]
    assert [m["content"] for m in vendor.requests[-1].body["messages"]] == ["A colour?", "Blue.", "Which?"]


async def test_a_turn_that_is_not_stored_leaves_no_content(server: RunningServer, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say("Between us."))
    async with connected(server.url) as socket:
        heard = await socket.chat("A secret word: zanzibar", store=False)
        await socket.end_of(heard.stream)
    found = await get(server, "/api/v1/conversations/search?q=zanzibar")
    assert heard.kinds == ["stream.started", "text.delta", "stream.ended"]
    assert "zanzibar" not in str(found)


# Several at once.


async def test_two_devices_watch_one_stream_to_its_end(server: RunningServer, vendor: OpenAIEmulator) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", "two ", hold, "three"]))
    async with connected(server.url) as phone, connected(server.url) as desk:
        heard = await phone.chat("Count")
        await phone.text_of(heard.stream, "one two ")
        accepted = await desk.ask("stream.resume", stream=heard.stream, after=0)
        await desk.text_of(heard.stream, "one two ")
        hold.release()
        ends = await asyncio.gather(phone.end_of(heard.stream), desk.end_of(heard.stream))
        assert accepted["recovered"] is True
        assert desk.of(heard.stream).text == heard.text == "one two three"
        assert ends[0] == ends[1]


async def test_many_streams_run_beside_each_other_on_one_socket(server: RunningServer, vendor: OpenAIEmulator) -> None:
    holds = [Hold() for _ in range(20)]
    vendor.script.extend(Say(pieces=[f"answer {i}", hold, " done"]) for i, hold in enumerate(holds))
    async with connected(server.url) as socket:
        streams = [await socket.chat(f"question {i}") for i in range(20)]
        await vendor.streaming(20)
        for hold in reversed(holds):
            hold.release()
        for heard in streams:
            assert (await socket.end_of(heard.stream))["status"] == "completed"
    assert sorted(heard.text for heard in streams) == sorted(f"answer {i} done" for i in range(20))


async def test_a_conversation_takes_one_turn_at_a_time(server: RunningServer, vendor: OpenAIEmulator) -> None:
    hold = Hold()
    vendor.script.extend([Say("First."), Say(pieces=["Second", hold, "."]), Say("Third.")])
    _, first = await post(server, {"input": "1"})
    async with connected(server.url) as socket:
        running = await socket.chat("2", conversation=first["conversation"])
        shown = await get(server, f"/api/v1/conversations/{first['conversation']}")
        refused = await socket.ask("chat.send", input="3", conversation=first["conversation"])
        hold.release()
        await socket.until(lambda: "message.saved" in running.kinds, "message.saved")
        third = await socket.chat("3", conversation=first["conversation"])
        await socket.end_of(third.stream)
    assert shown["running_stream"] == running.stream
    assert (refused["error"]["code"], refused["error"]["retryable"]) == ("conflict", True)
    assert third.text == "Third."


# Keys.


async def test_a_key_that_is_sent_again_gets_the_same_stream_and_no_second_turn(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say("Once."))
    async with connected(server.url) as socket:
        first = await socket.chat("Hi", key="k-again")
        await socket.end_of(first.stream)
    async with connected(server.url) as later:
        again = await later.chat("Hi", key="k-again")
        await later.end_of(again.stream)
    assert (again.stream, again.text) == (first.stream, "Once.")
    assert len(vendor.requests) == 1


async def test_a_key_that_is_sent_twice_at_once_runs_one_turn(server: RunningServer, vendor: OpenAIEmulator) -> None:
    answers = await asyncio.gather(*(post(server, {"input": "Hi"}, **{"Idempotency-Key": "k-race"}) for _ in range(5)))
    assert len({answer["stream"] for _, answer in answers}) == 1
    assert [answer["text"] for _, answer in answers] == ["Hi"] * 5
    assert len(vendor.requests) == 1


async def test_a_key_with_another_body_is_refused(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with connected(server.url) as socket:
        first = await socket.chat("Hi", key="k-other")
        await socket.end_of(first.stream)
        other = await socket.ask("chat.send", input="Ho", key="k-other")
    status, problem = await post(server, {"input": "Ho"}, **{"Idempotency-Key": "k-other"})
    assert (other["type"], other["error"]["code"], other["error"]["field"]) == (
        "rejected",
        "idempotency_conflict",
        "key",
    )
    assert (status, problem["code"]) == (409, "idempotency_conflict")
    assert len(vendor.requests) == 1


async def test_a_key_is_known_after_a_restart(start: Start, vendor: OpenAIEmulator) -> None:
    server = start()
    vendor.script.extend([Say("Once."), Say("Once more.")])
    async with connected(server.url) as socket:
        first = await socket.chat("Hi", key="k1")
        await socket.end_of(first.stream)
    posted = await post(server, {"input": "Hi"}, **{"Idempotency-Key": "k2"})
    assert server.stop() == 0
    server.start()
    async with connected(server.url) as socket:
        again = await socket.chat("Hi", key="k1")
        await socket.end_of(again.stream)
        other = await socket.ask("chat.send", input="Ho", key="k1")
    repeated = await post(server, {"input": "Hi"}, **{"Idempotency-Key": "k2"})
    assert (again.stream, again.text, again.end["status"]) == (first.stream, "Once.", "completed")
    assert other["error"]["code"] == "idempotency_conflict"
    assert repeated == posted
    assert len(vendor.requests) == 2


# Leaving and stopping.


async def test_joined_frames_tell_with_prev_what_they_cover(server: RunningServer, vendor: OpenAIEmulator) -> None:
    words = [f"{i} " for i in range(50)]
    hold = Hold()
    vendor.script.append(Say(pieces=[*words, hold, "end"]))
    async with connected(server.url) as writer, connected(server.url) as reader:
        heard = await writer.chat("Count")
        await writer.text_of(heard.stream, "".join(words))
        await reader.ask("session.configure", join=True)
        await reader.ask("stream.resume", stream=heard.stream)
        hold.release()
        await asyncio.gather(reader.end_of(heard.stream), writer.end_of(heard.stream))
        joined = reader.of(heard.stream)
    assert (joined.text, joined.last) == (heard.text, heard.last)
    assert len(joined.events) < len(heard.events)
    assert any("prev" in event for event in joined.events)


async def test_a_detached_stream_goes_on_and_can_be_resumed(server: RunningServer, vendor: OpenAIEmulator) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        await socket.ask("stream.detach", stream=heard.stream)
        detached = await socket.take("stream.detached", stream=heard.stream)
        hold.release()
        await vendor.streaming(0)
        silent = heard.last
        await socket.ask("ping")
        assert (detached["last"], heard.last) == (silent, silent)
        await socket.ask("stream.resume", stream=heard.stream, after=heard.last)
        await socket.end_of(heard.stream)
    assert heard.text == "one two"


async def test_a_turn_outlives_its_socket(server: RunningServer, vendor: OpenAIEmulator) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
    running = await get(server, "/api/v1/streams")
    hold.release()
    async with connected(server.url, socket.heard) as later:
        await later.ask("stream.resume", stream=heard.stream, after=heard.last)
        await later.end_of(heard.stream)
    assert heard.stream in [stream["stream"] for stream in running["streams"]]
    assert (heard.text, heard.end["status"], vendor.closed_by_client) == ("one two", "completed", [])


async def test_a_turn_that_nobody_watches_is_stopped_where_its_sender_said_so(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say(pieces=["one ", Hold(), "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count", on_disconnect="cancel")
        await socket.text_of(heard.stream, "one ")
    await vendor.hung_up()
    async with connected(server.url, socket.heard) as later:
        await later.ask("stream.resume", stream=heard.stream, after=heard.last)
        end = await later.end_of(heard.stream)
    assert (end["status"], end["reason"]) == ("cancelled", "disconnect")


async def test_a_cancel_reaches_the_vendor_and_keeps_what_was_said(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say(pieces=["one ", Hold(), "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        first = await socket.ask("stream.cancel", stream=heard.stream)
        end = await socket.end_of(heard.stream)
        second = await socket.ask("stream.cancel", stream=heard.stream)
        await vendor.hung_up()
    saved = next(event for event in heard.events if event["type"] == "message.saved")
    conversation = await get(server, f"/api/v1/conversations/{saved['conversation']}")
    answer = conversation["messages"][-1]
    assert (first["type"], second["type"]) == ("accepted", "accepted")
    assert (end["status"], end["reason"], end["saved"]) == ("cancelled", "client_cancel", True)
    assert (answer["text"], answer["status"]) == ("one ", "cancelled")


async def test_a_cancel_before_the_first_token_ends_the_turn_once(
    server: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say("never", start=Hold()))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await vendor.received()
        cancels = [await socket.send("stream.cancel", stream=heard.stream) for _ in range(2)]
        end = await socket.end_of(heard.stream)
        assert [(await socket.answer(id))["type"] for id in cancels] == ["accepted", "accepted"]
        await vendor.hung_up()
        await socket.ask("ping")
    assert (end["status"], heard.text) == ("cancelled", "")
    assert heard.kinds.count("stream.ended") == 1


async def test_a_cancel_over_http_stops_a_turn_of_the_socket(server: RunningServer, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["one ", Hold()]))
    async with connected(server.url) as socket, aiohttp.ClientSession() as http:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        async with http.post(f"{server.url}/api/v1/streams/{heard.stream}/cancel") as response:
            assert response.status == 202
        end = await socket.end_of(heard.stream)
    assert end["status"] == "cancelled"
    await vendor.hung_up()


# As shipped, with the model on this machine.


async def test_a_server_as_shipped_answers_over_socket_and_http_with_no_key(local_server: RunningServer) -> None:
    async with connected(local_server.url) as socket:
        heard = await socket.chat("Say hello.", max_output_tokens=12, temperature=0)
        await socket.end_of(heard.stream)
    status, answer = await post(local_server, {"input": "Say hello.", "max_output_tokens": 12, "temperature": 0})
    assert heard.end["status"] == "completed"
    assert heard.end["model"].startswith("local")
    assert heard.end["usage"]["output_tokens"] > 0
    assert (status, bool(answer["text"].strip())) == (200, True)
    assert heard.text.strip()


async def test_the_local_model_stops_when_its_turn_is_cancelled(local_server: RunningServer) -> None:
    async with connected(local_server.url) as socket:
        heard = await socket.chat("Tell a long story about a river.", max_output_tokens=500)
        await socket.until(lambda: bool(heard.text), "the first word")
        await socket.ask("stream.cancel", stream=heard.stream)
        end = await socket.end_of(heard.stream)
        again = await socket.chat("Say hello.", max_output_tokens=4)
        await socket.end_of(again.stream)
    assert (end["status"], again.end["status"]) == ("cancelled", "completed")
