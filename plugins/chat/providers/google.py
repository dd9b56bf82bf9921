"""Google: Gemini's generateContent, streamed."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from engine.api import ChatRequest, ProviderRole, PushedAnswer, Shared
from plugins.chat.providers.google_body import google_body
from plugins.chat.providers.google_decoding import GoogleDecoder
from plugins.vendors.decoding import Answer, answer_to, encoded
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.tool_names import lengthened, shortened
from plugins.vendors.transport import open_stream

NAME = "google"
API_VERSION = "v1beta"
_COLLECTIONS = ("models", "tunedModels")


class Google:
    """Chat with Gemini over the Gemini API."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME
    lacks: ClassVar[frozenset[str]] = frozenset({"chat_completions"})

    def __init__(self, settings: GoogleSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._headers = {"x-goog-api-key": settings.key} if settings.key else {}
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model; the deltas of each read come as one list."""
        return answer_to(request, partial(self._answer, request))

    def _answer(self, request: ChatRequest) -> PushedAnswer:
        named, long = shortened(request)
        body = google_body(named, self.name)
        stream = open_stream(self._http, self._url(request.model), self._headers, encoded(body), self._vendor)
        decoder = GoogleDecoder(self._vendor, self.name, choices=request.n, grounded=_may_be_grounded(body))
        return lengthened(Answer(stream, decoder), long)

    def _url(self, model: str) -> URL:
        return model_url(self._settings.base_url, model, "streamGenerateContent?alt=sse")


def model_url(base_url: str, model: str, verb: str) -> URL:
    """The address of one of a model's methods."""
    # The name comes from the caller and stays one step of the path.
    collection, _, name = model.partition("/")
    if collection not in _COLLECTIONS:
        collection, name = "models", model
    return URL(f"{base_url}/{API_VERSION}/{collection}/{quote(name, safe='', errors='replace')}:{verb}", encoded=True)


def _may_be_grounded(body: dict[str, Any]) -> bool:
    """Only tools of Google's bring sources."""
    tools = body.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and tool.keys() - {"functionDeclarations"} for tool in tools
    )
