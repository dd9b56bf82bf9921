"""An answer without an end: the turn keeps a bounded amount of output, and the vendor's request is ended."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say, ToolUse
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 2_000
WORDS = "over and over " * 40

ENDLESS = {
    "text": Say(pieces=[*[WORDS] * 5, Hold()]),
    "reasoning": Say(reasoning=[*[WORDS] * 5, Hold()]),
    "a tool's arguments": Say(tool_calls=[ToolUse("c", "note", {"text": WORDS * 5})]),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_endless_answer_is_cut_and_what_came_before_is_kept(
    kind: str, vendor: OpenAIEmulator, tmp_path: Path
) -> None:
    vendor.script.append(ENDLESS[kind])
    tools = [{"type": "function", "name": "note"}]
    async with (
        engine_inside(tmp_path, {**CHAT, "limits.answer_characters": BOUND}, behind(vendor)) as engine,
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
    ):
        body = {"input": "Hi", "tools": tools}
        async with http.post("/api/v1/chat", json=body, headers={"Accept": "text/event-stream"}) as response:
            wire = await response.text()
        if kind != "a tool's arguments":
            await vendor.hung_up()
        async with http.get("/api/v1/conversations") as response:
            (conversation,) = (await response.json())["conversations"]
        async with http.get(f"/api/v1/conversations/{conversation['id']}") as response:
            answer = (await response.json())["messages"][-1]
    assert '"code":"answer_too_long"' in wire
    assert (answer["status"], answer["error"]["code"]) == ("failed", "answer_too_long")
    kept = {"text": answer["text"], "reasoning": answer.get("reasoning", "")}.get(kind, "")
    assert kept == WORDS * (BOUND // len(WORDS)) if kind != "a tool's arguments" else not answer.get("tool_calls")
