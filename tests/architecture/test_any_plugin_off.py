"""Whichever plugin is switched off, the others start and serve."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from engine.main import Engine
from tests.architecture.first_party import first_party
from tests.server import engine_inside

PLUGINS = sorted(first_party())
ADDRESSES = {
    "chat": "/api/v1/conversations",
    "local": None,
    "audio": None,
    "openai_api": "/v1/models",
    "realtime": None,
    "storage": "/api/v1/storage/objects",
    "tts": "/api/v1/tts/voices",
}


def server(folder: Path, enabled: list[str]) -> AbstractAsyncContextManager[Engine]:
    """A started engine; its local model is a file that is not there, so nothing is loaded."""
    missing = str(folder / "none.gguf")
    settings = {"plugins.enabled": enabled, "plugins.local.model_path": missing, "log.level": "critical"}
    return engine_inside(folder, settings, installed=first_party())


def test_every_plugin_has_its_address_here() -> None:
    assert sorted(ADDRESSES) == PLUGINS


@pytest.mark.parametrize("off", [*PLUGINS, None])
async def test_the_others_start_without_it(off: str | None, tmp_path: Path) -> None:
    rest = [name for name in PLUGINS if name != off]
    async with server(tmp_path, rest) as engine, aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http:
        assert sorted(engine.features) == rest
        async with http.get("/health/ready") as answer:
            assert answer.status == 200, await answer.text()
        for name, address in ADDRESSES.items():
            if address is not None:
                async with http.get(address) as answer:
                    body = await answer.text()
                    assert answer.status == (404 if name == off else 200), body
                    assert ("feature_disabled" in body) == (name == off), body


async def test_the_engine_starts_with_no_plugin_at_all(tmp_path: Path) -> None:
    async with server(tmp_path, []) as engine, aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http:
        assert engine.features == ()
        async with http.get("/health/live") as answer:
            assert answer.status == 200
