"""The page at `/docs` in a real browser: it shows what the server has, and sends what is tried on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser import chromium, complaints
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Say
from tests.server import RunningServer, server, shared_server, shared_vendor, vendor

__all__ = ("server", "shared_server", "shared_vendor", "vendor")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, server: RunningServer) -> AsyncIterator[Page]:
    """The page, loaded, whose scripts must complain of nothing in this test."""
    opened = await browser.new_page()
    told = complaints(opened)
    await opened.goto(f"{server.url}/docs")
    await expect(opened.locator("#state")).to_have_count(0)
    yield opened
    await opened.close()
    assert told == []


async def test_it_shows_every_address_and_command_of_the_server(page: Page) -> None:
    shown = await page.locator("details.card > summary").all_inner_texts()
    for wanted in ("POST/api/v1/chat ", "POST/v1/chat/completions ", "GET/health/ready "):
        assert any(wanted in text.replace("\n", "") for text in shown), wanted
    assert any(text.startswith("chat.send") for text in shown)


async def test_a_word_in_the_filter_leaves_what_has_it(page: Page) -> None:
    await page.keyboard.press("/")
    await page.keyboard.type("health")
    shown = page.locator("details.card:visible > summary")
    await expect(shown.filter(has_text="/health/ready")).to_be_visible()
    await expect(shown.filter(has_text="/api/v1/chat")).to_have_count(0)


async def test_a_chat_that_is_tried_on_it_is_shown_as_it_streams(page: Page, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["Hello from ", "the vendor"]))
    card = page.locator("details.card", has=page.locator("summary", has_text="/api/v1/chat ")).first
    await card.locator("summary").click()
    await card.get_by_label("Body").fill('{"input": "hi"}')
    await card.get_by_role("button", name="Send").click()
    log = card.get_by_role("log")
    await expect(log).to_contain_text("stream.ended")
    text = await log.inner_text()
    assert text.startswith("200 OK · text/event-stream")
    assert "Hello from " in text


async def test_the_link_of_a_problem_opens_its_error(page: Page, server: RunningServer) -> None:
    await page.goto(f"{server.url}/docs/errors#model_not_found")
    card = page.locator("#model_not_found")
    await expect(card).to_have_attribute("open", "")
    await expect(card).to_contain_text("404")


async def test_it_is_whole_on_a_narrow_screen(page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 800})
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
