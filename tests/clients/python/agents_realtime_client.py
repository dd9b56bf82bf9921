"""OpenAI's Agents SDK: an agent that speaks, with the session that the SDK asks for by itself."""

from __future__ import annotations

import asyncio
import sys

from agents import set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

WITHIN = 30


async def talk(url: str) -> None:
    set_tracing_disabled(True)
    agent = RealtimeAgent(name="Captain", instructions="Be brief.")
    runner = RealtimeRunner(agent, config={"model_settings": {"model_name": "cascade", "voice": "ash"}})
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model=cascade"
    heard = b""
    async with await runner.run(model_config={"url": address, "api_key": "any"}) as session:
        await session.send_message("Say hello")
        async with asyncio.timeout(WITHIN):
            async for event in session:
                assert event.type != "error", event
                if event.type == "audio":
                    heard += event.audio.data
                if event.type == "agent_end":
                    break
    assert heard, "the agent made no sound"


if __name__ == "__main__":
    asyncio.run(talk(sys.argv[1]))
