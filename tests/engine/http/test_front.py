"""What stands at the root of a server."""

from __future__ import annotations

import html
import re
from pathlib import Path

import aiohttp
import pytest

from engine.http.front import About, Part, front_page, wants_page
from tests.browser import chromium, complaints
from tests.server import engine_inside

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
KEYS = {"auth.mode": "keys", "auth.secret": "a secret of thirty-two characters"}
ABOUT = About(["chat"], [Part("Answers", "local", "small <b>"), Part("Hears", None, "nothing is installed")])


def page(about: About | None = ABOUT, host: str = "127.0.0.1:8080") -> str:
    body = front_page("1.2.3", "ready", about, host).body
    assert isinstance(body, bytes)
    return body.decode()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [("text/html, */*", True), ("application/json", False), ("*/*", False), ("", False), ("TEXT/HTML", True)],
)
def test_browsers_alone_are_shown_the_page(accept: str, wanted: bool) -> None:
    assert wants_page({"accept": accept} if accept else {}) is wanted


def test_it_says_what_answers_and_why_nothing_hears() -> None:
    assert "1.2.3" in page() and "small &lt;b&gt;" in page()
    assert "nothing<small>nothing is installed</small>" in page()


def test_it_loads_nothing_and_runs_nothing() -> None:
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", page()) == ["data:,", "/docs", "/health/ready", "/api/v1/models"]
    policy = front_page("1", "ready", ABOUT, "").headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy and "default-src 'none'" in policy


def test_its_commands_name_the_server_that_was_asked() -> None:
    assert "betterai chat</pre>" in page()
    assert "betterai chat --server http://example.org:81</pre>" in page(host="example.org:81")
    assert "curl http://[::1]:81/api/v1/chat" in page(host="[::1]:81")


@pytest.mark.parametrize("host", ["a;rm -rf", "$(id)", '"><script>', ""])
def test_a_host_that_is_none_stands_in_no_command(host: str) -> None:
    assert page(host=host) == page()


async def test_a_browser_shows_it_without_complaint_and_gets_to_the_documentation(tmp_path: Path) -> None:
    async with engine_inside(tmp_path, {"plugins.enabled": ["chat"]}, {}) as engine, chromium() as browser:
        shown = await browser.new_page(color_scheme="dark")
        told = complaints(shown)
        await shown.goto(f"http://127.0.0.1:{engine.port}/")
        assert await shown.inner_text("h1") == "BetterAI engine"
        assert "chat" in await shown.inner_text("ul")
        assert await shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 26)"
        await shown.click("text=Documentation")
        await shown.wait_for_url("**/docs")
        assert told == []


async def test_programs_get_the_line_that_they_always_got(tmp_path: Path) -> None:
    async with (
        engine_inside(tmp_path, {"plugins.enabled": ["chat"]}, {}) as engine,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{engine.port}/"
        async with http.get(url) as answer, http.head(url) as head:
            assert (answer.status, head.status) == (200, 200)
            assert "BetterAI answers here" in await answer.text()
        async with http.get(url, headers=BROWSER) as shown, http.head(url, headers=BROWSER) as head:
            assert (shown.headers["Vary"], head.status) == ("Accept", 200)
            assert "Default models" in await shown.text()


async def test_a_server_with_keys_tells_strangers_no_features_and_no_models(tmp_path: Path) -> None:
    async with (
        engine_inside(tmp_path, {"plugins.enabled": ["chat"], **KEYS}, {}) as engine,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{engine.port}/", headers=BROWSER) as answer,
    ):
        shown = await answer.text()
    assert "Default models" not in shown and "<ul>" not in shown
    assert "Authorization: Bearer $BETTERAI_KEY" in html.unescape(shown)
