"""A real Chromium for tests: headless, alone with its profile, and without a word to anybody but loopback."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright

from tests.databases import unavailable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# A browser that looks for news of itself is refused by a machine without a network, many times a second.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, running."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        unavailable("there is no Chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


def complaints(page: Page) -> list[str]:
    """A list that grows with the errors that the page's scripts raise, and that its console shows."""
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    return told
