"""A large request is translated in a thread, whatever makes it large."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from engine.testing import ScriptedProvider, answer
from tests.plugins.openai_api.conftest import Serving

FIELDS = {f"unknown_{at}": at for at in range(10_000)}


class Watched(ScriptedProvider):
    """Notes the threads in which each translation looks up what it speaks and takes."""

    threads: set[threading.Thread]

    @property
    def dialect(self) -> str:
        self.threads.add(threading.current_thread())
        return "other"

    @property
    def takes(self) -> frozenset[str]:
        self.threads.add(threading.current_thread())
        return frozenset()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
        ("responses", {"input": [{"type": "message", "role": "user", "content": "Hi"}], "store": False}),
    ],
)
@pytest.mark.parametrize("large", [True, False])
async def test_one_message_of_many_fields_is_translated_in_a_thread(
    serving: Serving, path: str, body: dict[str, Any], large: bool
) -> None:
    provider = Watched(*answer("Hi"))
    provider.threads = set()
    field = "input" if "input" in body else "messages"
    sent = (
        {**body, "model": "scripted/m", field: [{**body[field][0], **FIELDS}]}
        if large
        else {**body, "model": "scripted/m"}
    )
    async with serving(provider) as client, httpx.AsyncClient() as http:
        reply = await http.post(f"{client.base_url}{path}", json=sent)
    assert reply.status_code == 200, reply.text
    assert bool(provider.threads - {threading.current_thread()}) is large
