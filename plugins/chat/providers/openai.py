"""OpenAI: the Responses API and, for what only it can do and for OpenAI's imitators, Chat Completions."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import aiohttp

from engine.api import ChatRequest, ProviderRole, PushedAnswer, Shared
from plugins.chat.providers.responses_body import chat_completions_only, responses_body
from plugins.chat.providers.responses_decoding import ResponsesDecoder
from plugins.vendors.decoding import Answer, answer_to, encoded
from plugins.vendors.dialect import COMMON, OPENAI, Dialect
from plugins.vendors.failures import Vendor
from plugins.vendors.openai_compatible import Endpoint, OpenAICompatible, bearer
from plugins.vendors.settings import OpenAISettings, account_headers
from plugins.vendors.tool_names import lengthened, shortened
from plugins.vendors.transport import open_stream

NAME = "openai"


class OpenAIResponses:
    """Chat over the Responses API."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME

    def __init__(self, settings: OpenAISettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._url = f"{settings.base_url}/responses"
        self._headers = {**account_headers(settings), **bearer(settings.key)}
        self._vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
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
        body = encoded(responses_body(named, self.name))
        stream = open_stream(self._http, self._url, self._headers, body, self._vendor)
        return lengthened(Answer(stream, ResponsesDecoder(self._vendor, self.name)), long)


class OpenAI:
    """OpenAI by whichever of its APIs can serve the request, as `[vendors.openai] api` allows.

    At OpenAI's own address that is Responses, except where only Chat Completions will do; at any other address it is
    Chat Completions, unless the operator says otherwise.
    """

    role: ClassVar[ProviderRole] = "chat"
    name = NAME

    def __init__(self, settings: OpenAISettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._responses = OpenAIResponses(settings, http)
        self._chat_completions = OpenAICompatible(
            NAME,
            http,
            Endpoint(settings.base_url, settings.key),
            dialect=_dialect(settings),
            title=settings.title,
            credential=settings.credential,
        )

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    @property
    def lacks(self) -> frozenset[str]:
        """What the APIs that may be used have no field for."""
        return frozenset({"top_k", *(("chat_completions",) if self._settings.api == "responses" else ())})

    @property
    def dialect(self) -> str | None:
        """`responses` where that API is what requests go to unless they ask for something that it has not."""
        api = self._settings.api
        return "responses" if api == "responses" or (api == "auto" and self._settings.own_address) else None

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model; the deltas of each read come as one list."""
        return self.api_for(request).stream(request)

    def api_for(self, request: ChatRequest) -> OpenAIResponses | OpenAICompatible:
        """The API that this request goes to."""
        api = self._settings.api
        if api == "auto":
            ours = self._settings.own_address and chat_completions_only(request) is None
            api = "responses" if ours else "chat_completions"
        return self._responses if api == "responses" else self._chat_completions


def _dialect(settings: OpenAISettings) -> Dialect:
    common = OPENAI if settings.own_address else COMMON
    return Dialect(
        max_tokens=common.max_tokens,
        developer_role=common.developer_role,
        # A server that is not OpenAI's may stand before OpenAI.
        web_search="web_search_options",
        top_k=False,
        headers=account_headers(settings),
    )
