"""Embeddings of any server that speaks OpenAI's API, asked over our own connections and decoded off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import aiohttp

from engine.api import Embedded, EmbeddingRequest, EngineError, PluginContext, ProviderRole, Shared
from engine.wire.apart import apart_if, is_large
from plugins.vendors.decoding import encode_body
from plugins.vendors.embedding_rows import read_rows
from plugins.vendors.failures import Vendor
from plugins.vendors.large import JSON, apart, post_document
from plugins.vendors.openai_compatible import Endpoint, bearer
from plugins.vendors.transport import vendor_http
from plugins.vendors.vectors import LONGEST_VECTOR

_LONGEST_NUMBER = 26
_LONGEST_ANSWER = 256 << 20


class OpenAIEmbeddings:
    """An embedding provider behind one address. `unavailable` says what the operator has to set before it can serve.

    Vectors are asked for in base64: a fifth of the bytes, and a fiftieth of the time to decode. An address that refuses
    this is asked for numbers from then on.
    """

    role: ClassVar[ProviderRole] = "embedding"

    def __init__(
        self,
        name: str,
        context: PluginContext,
        endpoint: Endpoint,
        *,
        unavailable: Callable[[], str | None] = lambda: None,
        own_address: bool = True,
        title: str | None = None,
        credential: str = "its API key",
    ) -> None:
        self.name = name
        self.own_address = own_address
        self._url = f"{endpoint.base_url}/embeddings"
        self._headers = {**JSON, **bearer(endpoint.api_key)}
        self._unavailable = unavailable
        self._vendor = Vendor(title or name, credential=credential, secret=endpoint.api_key)
        self._http: Shared[aiohttp.ClientSession] = context.shared(vendor_http)
        self._knows_base64 = True

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._unavailable()

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input."""
        try:
            answer = await self._ask(request)
        except EngineError as error:
            if not self._knows_base64 or not _blames_the_encoding(error):
                raise
            self._knows_base64 = False
            answer = await self._ask(request)
        return await apart(len(answer), lambda: read_rows(answer, request, self._vendor))

    async def _ask(self, request: EmbeddingRequest) -> bytes:
        told = _body(request, in_base64=self._knows_base64)
        body = await apart_if(is_large(told), partial(encode_body, told))
        longest = longest_answer(len(request.inputs))
        return await post_document(self._http, self._url, self._headers, body, self._vendor, longest=longest)


def longest_answer(count: int) -> int:
    """Bytes of JSON that `count` vectors take at most."""
    return min(_LONGEST_ANSWER, (1 << 20) + count * LONGEST_VECTOR * _LONGEST_NUMBER)


def _body(request: EmbeddingRequest, *, in_base64: bool) -> dict[str, Any]:
    inputs = request.inputs
    body: dict[str, Any] = {"model": request.model, "input": inputs}
    if in_base64:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    return {**body, **request.provider_options}


def _blames_the_encoding(error: EngineError) -> bool:
    return error.field == "encoding_format" or "encoding_format" in error.message or "base64" in error.message
