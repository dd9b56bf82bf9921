"""Anthropic: the Messages API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import aiohttp
import msgspec

from engine.api import ChatRequest, ProviderRole, PushedAnswer, Shared
from engine.wire.apart import apart_if, is_large
from plugins.chat.providers.anthropic_body import anthropic_body
from plugins.chat.providers.anthropic_decoding import AnthropicDecoder
from plugins.chat.providers.anthropic_faults import read_anthropic_fault
from plugins.chat.providers.anthropic_pauses import PausingAnswer, has_server_tools
from plugins.vendors.decoding import Answer, answer_to, encode_body, encoded
from plugins.vendors.failures import Vendor
from plugins.vendors.settings import AnthropicSettings
from plugins.vendors.transport import Body, EventStream, open_stream, post_json

NAME = "anthropic"
DIALECT = "anthropic"
API_VERSION = "2023-06-01"

MaxOutput: TypeAlias = Callable[[str], int | None]
"""The most tokens that a model, by the vendor's name of it, can put out; None where that is not known."""


class Anthropic:
    """Chat with Claude. `max_output` is what the catalogue says: Messages wants a bound with every request."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME
    lacks: ClassVar[frozenset[str]] = frozenset({"chat_completions"})
    takes: ClassVar[frozenset[str]] = frozenset({"cache_control"})
    dialect: ClassVar[str] = DIALECT
    """`ChatRequest.native` of this dialect is the body of a Messages request; its `betas` become the header of that name."""

    def __init__(
        self,
        settings: AnthropicSettings,
        http: Shared[aiohttp.ClientSession],
        *,
        max_output: MaxOutput = lambda model: None,
    ) -> None:
        self._settings = settings
        self._http = http
        self._max_output = max_output
        self._url = f"{settings.base_url}/v1/messages"
        self._headers = {"anthropic-version": API_VERSION, **({"x-api-key": settings.key} if settings.key else {})}
        self._vendor = Vendor(settings.title, read_anthropic_fault, credential=settings.credential, secret=settings.key)

    @property
    def own_address(self) -> bool:
        """Whether Anthropic itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model; the deltas of each read come as one list."""
        return answer_to(request, partial(self._answer, request))

    def _answer(self, request: ChatRequest) -> PushedAnswer:
        if (native := request.native.get(DIALECT)) is not None:
            return self._as_it_came(native, request.model)
        body = anthropic_body(request, self.name, self._max_output(request.model))
        decoder = AnthropicDecoder(self._vendor, self.name)
        if has_server_tools(body):
            return PausingAnswer(self._open, body, decoder)
        return Answer(self._open(encoded(body)), decoder)

    async def count_tokens(self, model: str, native: Mapping[str, Any]) -> int:
        """Tokens of the input of a request, as Anthropic counts them."""
        body = {**native, "model": model}
        headers = {**self._headers, **_beta_header(body.pop("betas", None))}
        sent = await apart_if(is_large(body), partial(encode_body, body))
        told = await post_json(self._http, f"{self._url}/count_tokens", headers, sent, self._vendor)
        try:
            return msgspec.json.decode(told, type=_Count).input_tokens
        except msgspec.MsgspecError:
            raise self._vendor.broke_protocol("it did not say how many tokens there are") from None

    def _as_it_came(self, native: Mapping[str, Any], model: str) -> Answer:
        body = {**native, "model": model, "stream": True}
        headers = _beta_header(body.pop("betas", None))
        decoder = AnthropicDecoder(self._vendor, self.name, dialect=DIALECT)
        return Answer(self._open(encoded(body), headers), decoder)

    def _open(self, body: Body, headers: Mapping[str, str] = MappingProxyType({})) -> EventStream:
        return open_stream(self._http, self._url, {**self._headers, **headers}, body, self._vendor)


class _Count(msgspec.Struct):
    input_tokens: int


def _beta_header(betas: Sequence[str] | None) -> dict[str, str]:
    return {"anthropic-beta": ",".join(betas)} if betas else {}
