"""What was said and what was heard: conversations that are cut and recorded over the socket and over HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Say
from tests.journeys.client import Socket, connected
from tests.server import RunningServer, server, shared_server, shared_vendor, vendor

__all__ = ("server", "shared_server", "shared_vendor", "vendor")

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = "The boat is green.\n\nIt lies in the harbour."


async def answered(socket: Socket, vendor: OpenAIEmulator) -> dict[str, Any]:
    """A turn with a known answer; gives where it stands."""
    vendor.script.append(Say(ANSWER))
    heard = await socket.chat("Where is the boat?")
    await socket.end_of(heard.stream)
    saved: dict[str, Any] = next(event for event in heard.events if event["type"] == "message.saved")
    return {"conversation": saved["conversation"], "message": saved["message"]}


async def test_of_an_answer_only_what_was_heard_is_kept(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with connected(server.url) as socket, aiohttp.ClientSession(server.url) as http:
        where = await answered(socket, vendor)
        cut = await socket.ask("chat.truncate", **where, heard="The boat is green. It lies")
        assert cut["text"] == "The boat is green.\n\nIt lies"
        again = await socket.ask("chat.truncate", **where, heard="The boat is  green.It lies")
        assert again["text"] == cut["text"]
        vendor.script.append(Say("Yes."))
        heard = await socket.chat("Go on.", conversation=where["conversation"])
        await socket.end_of(heard.stream)
        async with http.get(f"/api/v1/conversations/{where['conversation']}/messages/{where['message']}") as answer:
            message = await answer.json()
        async with http.get("/api/v1/search", params={"q": "harbour"}) as answer:
            found = await answer.json()
    assert (message["text"], message["status"]) == (cut["text"], "cancelled")
    assert vendor.requests[-1].body["messages"][1] == {"role": "assistant", "content": cut["text"]}
    assert all(hit["message"] != where["message"] for hit in found.get("messages", found.get("results", [])))


async def test_an_answer_that_nobody_heard_was_not_said(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with connected(server.url) as socket, aiohttp.ClientSession(server.url) as http:
        where = await answered(socket, vendor)
        path = f"/api/v1/conversations/{where['conversation']}/messages/{where['message']}/truncate"
        async with http.post(path, json={"heard": ""}) as answer:
            assert (answer.status, (await answer.json())["text"]) == (200, "")
        past = await socket.ask("chat.past", conversation=where["conversation"])
    assert past["messages"] == [{"role": "user", "text": "Where is the boat?"}]


async def test_what_was_said_elsewhere_is_kept_and_gone_on_with(server: RunningServer, vendor: OpenAIEmulator) -> None:
    said = [{"role": "user", "text": "Hello!"}, {"role": "assistant", "text": "Hello you.", "status": "cancelled"}]
    async with connected(server.url) as socket:
        kept = await socket.ask("chat.record", messages=said)
        more = await socket.ask(
            "chat.record",
            conversation=kept["conversation"],
            messages=[{"role": "user", "text": "Are you there?", "usage": {"input_tokens": 3}}],
        )
        vendor.script.append(Say("Yes."))
        heard = await socket.chat("Well?", conversation=kept["conversation"])
        await socket.end_of(heard.stream)
        past = await socket.ask("chat.past", conversation=kept["conversation"], limit=3)
    assert more["conversation"] == kept["conversation"]
    assert [message["content"] for message in vendor.requests[-1].body["messages"]] == [
        "Hello!",
        "Hello you.",
        "Are you there?",
        "Well?",
    ]
    assert [message["text"] for message in past["messages"]] == ["Are you there?", "Well?", "Yes."]


async def test_notes_are_added_to_an_answer_and_to_its_question(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with connected(server.url) as socket, aiohttp.ClientSession(server.url) as http:
        where = await answered(socket, vendor)
        told = await socket.ask("chat.annotate", **where, metadata={"audio": "o_1"}, question={"audio": "o_0"})
        assert told["metadata"] == {"audio": "o_1"}
        again = await socket.ask("chat.annotate", **where, metadata={"audio": "o_2", "mood": "calm"})
        assert again["metadata"] == {"audio": "o_2", "mood": "calm"}
        async with http.get(f"/api/v1/conversations/{where['conversation']}/messages") as answer:
            question, noted = (await answer.json())["messages"]
    assert (question["metadata"], noted["metadata"]) == ({"audio": "o_0"}, {"audio": "o_2", "mood": "calm"})
    assert (question["role"], noted["id"]) == ("user", where["message"])


async def test_many_calls_together_cannot_add_notes_without_end(server: RunningServer, vendor: OpenAIEmulator) -> None:
    async with connected(server.url) as socket:
        where = await answered(socket, vendor)
        for first in (0, 32):
            await socket.ask("chat.annotate", **where, metadata={f"n{at}": "x" for at in range(first, first + 32)})
        over = await socket.ask("chat.annotate", **where, metadata={"n0": "y", "another": "x"})
        again = await socket.ask("chat.annotate", **where, metadata={"n0": "y"})
    assert (over["error"]["code"], over["error"]["field"], over["error"]["limit"]) == (
        "invalid_request",
        "metadata",
        64,
    )
    assert (len(again["metadata"]), again["metadata"]["n0"]) == (64, "y")


@pytest.mark.parametrize(
    ("type", "fields", "code", "field"),
    [
        ("chat.annotate", {"metadata": {"audio": "x" * 1001}}, "invalid_request", "metadata.audio"),
        ("chat.annotate", {"message": "m_nobody"}, "message_not_found", "message"),
        ("chat.annotate", {"conversation": "c_nobody"}, "conversation_not_found", None),
        ("chat.truncate", {"heard": "The ship"}, "invalid_request", "heard"),
        ("chat.truncate", {"heard": ANSWER + " And more."}, "invalid_request", "heard"),
        ("chat.truncate", {"heard": "", "message": "m_nobody"}, "message_not_found", "message"),
        ("chat.truncate", {"heard": "", "conversation": "c_nobody"}, "conversation_not_found", None),
        ("chat.past", {"conversation": "c_nobody", "message": None}, "conversation_not_found", "conversation"),
        ("chat.record", {"messages": [], "message": None}, "invalid_request", "messages"),
        (
            "chat.record",
            {"messages": [{"role": "user", "text": "Hi", "usage": {"input_tokens": "x"}}], "message": None},
            "invalid_request",
            "messages.0.usage",
        ),
    ],
)
async def test_what_cannot_be_cut_or_kept_is_named(
    server: RunningServer, vendor: OpenAIEmulator, type: str, fields: dict[str, Any], code: str, field: str | None
) -> None:
    async with connected(server.url) as socket:
        where = await answered(socket, vendor)
        body = {name: value for name, value in {**where, **fields}.items() if value is not None}
        error = await socket.rejected(await socket.send(type, **body))
    assert (error["code"], error.get("field")) == (code, field)
