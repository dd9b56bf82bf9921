"""Every frame that the protocol's page shows as a client's, sent to a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import aiohttp
import pytest

from engine.main import Engine
from tests.docs.test_examples import client_frames

Frame: TypeAlias = dict[str, Any]
ASKS_FOR_A_TOOL = next(frame for frame in client_frames() if "tools" in frame)


@pytest.fixture
async def socket(server: Engine) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A session, past its first frame."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"ws://127.0.0.1:{server.port}/ws") as opened:
        await until(opened, "session.ready")
        yield opened


async def until(socket: aiohttp.ClientWebSocketResponse, *types: str) -> Frame:
    """The next frame of one of these types."""
    while True:
        message = await socket.receive(timeout=20)
        if message.type is aiohttp.WSMsgType.BINARY:
            continue
        frame: Frame = message.json()
        if frame["type"] in types:
            return frame


async def told(socket: aiohttp.ClientWebSocketResponse, frame: Frame) -> Frame:
    """The answer to a command."""
    await socket.send_json(frame)
    return await until(socket, "accepted", "rejected", "pong")


async def stream_for(socket: aiohttp.ClientWebSocketResponse, frame: Frame) -> str:
    """A stream that the frame can be about: one that waits for a tool's result, or one that has ended."""
    if frame["type"] == "tool.result":
        stream = (await told(socket, ASKS_FOR_A_TOOL))["stream"]
        await until(socket, "tool.call")
    elif frame["type"] in ("tts.text", "tts.finish"):
        stream = (await told(socket, {"type": "tts.start", "model": "local"}))["stream"]
    elif frame["type"] == "realtime.tool_result":
        tools = [{"name": "weather"}]
        stream = (await told(socket, {"type": "realtime.start", "model": "local", "tools": tools}))["stream"]
        await told(socket, {"type": "realtime.text", "stream": stream, "text": "How warm is it in Oslo?"})
        await told(socket, {"type": "realtime.answer", "stream": stream})
        await until(socket, "tool.call")
    elif frame["type"].startswith("realtime."):
        stream = (await told(socket, {"type": "realtime.start", "model": "local", "store": False}))["stream"]
    elif frame["type"] == "audio.finish":
        stream = (await told(socket, {"type": "audio.start", "model": "local"}))["stream"]
    else:
        stream = (await told(socket, {"type": "chat.send", "input": "Hello!"}))["stream"]
        await until(socket, "stream.ended")
    return str(stream)


@pytest.mark.parametrize("frame", client_frames(), ids=lambda frame: frame.get("id", frame["type"]))
async def test_it_is_taken(frame: Frame, socket: aiohttp.ClientWebSocketResponse) -> None:
    if frame["type"] in ("chat.past", "chat.truncate", "chat.annotate"):
        await told(socket, {"type": "chat.send", "input": "Hello!"})
        saved = await until(socket, "message.saved")
        text = (await told(socket, {"type": "chat.past", "conversation": saved["conversation"]}))["messages"][1]["text"]
        real = {"conversation": saved["conversation"], "message": saved["message"], "heard": text[:8]}
        frame = {**frame, **{name: value for name, value in real.items() if name in frame}}
    if "stream" in frame:
        frame = {**frame, "stream": await stream_for(socket, frame)}
    answer = await told(socket, frame)
    assert answer["type"] in ("accepted", "pong"), answer
    assert answer.get("re") == frame.get("id")


@pytest.mark.parametrize(
    "frame",
    [frame for frame in client_frames() if frame["type"] == "chat.send" and "tools" not in frame],
    ids=lambda frame: frame["id"],
)
async def test_its_turn_is_completed(frame: Frame, socket: aiohttp.ClientWebSocketResponse) -> None:
    await told(socket, frame)
    ended = await until(socket, "stream.ended")
    assert (ended["status"], ended["reason"]) == ("completed", "done")
