"""A connection of OpenAI's own client to `/v1/realtime`: every event is valid by the client's own types."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

VALID: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class Talk:
    """One connection, and every event that came; each is valid by the client's own types."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def until(self, *types: str) -> dict[str, Any]:
        """Read up to the next event of one of these types."""
        while True:
            raw: dict[str, Any] = json.loads(await self.connection.recv_bytes())
            VALID.validate_python(raw)
            self.events.append(raw)
            if raw["type"] in types:
                return raw
            assert raw["type"] != "error" or "error" in types, raw

    @property
    def kinds(self) -> list[str]:
        """The types of the events, one for each run of alike ones."""
        kinds = [event["type"] for event in self.events]
        return [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]

    async def say(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 9_600):
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + 9_600]).decode())

    async def write(self, text: str) -> None:
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.connection.conversation.item.create(item=item)


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
