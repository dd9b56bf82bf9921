"""The official SDK of OpenAI, for what is less hot than chat: one client for each provider, opened with its first call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engine.api import PluginContext, Shared
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import retry_after
from plugins.vendors.settings import OpenAISettings

if TYPE_CHECKING:
    import openai


class OpenAISdk:
    """A client for the operator's OpenAI. Retries are the engine's, and so are deadlines."""

    def __init__(self, settings: OpenAISettings, context: PluginContext) -> None:
        self._settings = settings
        self._vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)
        self._client: Shared[openai.AsyncOpenAI] = context.shared(self._open)

    @property
    def unavailable(self) -> str | None:
        """What is missing before OpenAI can be asked, or None."""
        if find_spec("openai") is None:
            return "the package openai is not installed: pip install 'betterai-engine[openai]'"
        return self._settings.unavailable

    async def client(self) -> openai.AsyncOpenAI:
        """The open client."""
        return await self._client.get()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """What the SDK raises in the block, as errors of the engine that hold no header."""
        # Imported on first use: a server that asks nothing of it starts without the SDK.
        import httpx2

        # As above.
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            headers = {name.title(): value for name, value in error.response.headers.items()}
            wait = retry_after(headers)
            raise self._vendor.failure(error.response.content, status=error.status_code, retry_after=wait) from None
        except openai.APIConnectionError as error:
            raise self._vendor.unreachable(type(error.__cause__ or error).__name__) from None
        except openai.APIError:
            raise self._vendor.broke_protocol("its answer is not of the known form") from None
        except httpx2.HTTPError:
            raise self._vendor.cut_off() from None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[openai.AsyncOpenAI]:
        # Imported on first use, as above.
        import openai

        settings = self._settings
        client = openai.AsyncOpenAI(
            api_key=settings.key or "none",
            base_url=settings.base_url,
            organization=settings.organization,
            project=settings.project,
            max_retries=0,
            timeout=None,
        )
        async with client:
            yield client
