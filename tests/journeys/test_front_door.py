"""What a server answers where clients and proxies look first, and for a dialect that is off."""

from __future__ import annotations

import aiohttp
import pytest

from tests.server import CHAT, engine_inside


async def test_the_root_answers_and_a_dialect_that_is_off_says_so_in_its_own_shape(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = {**CHAT, "plugins.enabled": ["chat"]}
    async with (
        engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{engine.port}"
        async with http.get(f"{url}/") as front:
            assert front.status == 200 and 'href="/docs"' in await front.text()
        async with http.head(f"{url}/") as bare:
            assert bare.status == 200
        async with http.post(f"{url}/v1/chat/completions", json={}) as answer:
            error = (await answer.json())["error"]
            assert answer.status == 404 and (error["code"], error["type"]) == (
                "feature_disabled",
                "invalid_request_error",
            )
        async with http.post(f"{url}/v1/messages", json={}) as answer:
            told = await answer.json()
            assert (told["type"], told["error"]["type"]) == ("error", "not_found_error")
