"""Chat with any server that speaks OpenAI's Chat Completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, TypeAlias

import aiohttp

from engine.api import ChatDeltas, ChatRequest, ModelUnavailable, ProviderRole, PushedAnswer, Shared, StatusChanged
from plugins.vendors.chat_body import chat_body
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.decoding import Answer, answer_to, encoded
from plugins.vendors.dialect import COMMON, Dialect
from plugins.vendors.failures import Vendor
from plugins.vendors.tool_names import lengthened, shortened
from plugins.vendors.transport import Body, open_stream


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a vendor answers: `base_url` up to the version and without a slash at its end, and the key, if any."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)


Connect: TypeAlias = Callable[[], AsyncIterator[StatusChanged | Endpoint]]
"""Finds the endpoint for one call: any number of `status` deltas while it waits, then the endpoint, last.

It may raise `ModelUnavailable`.
"""


class OpenAICompatible:
    """A chat provider behind one address.

    `endpoint` is fixed, or found anew for each call where it may move or must be waited for. `unavailable` says what the
    operator has to set before it can serve. `own_address` is false where the address is not that of the vendor whose
    models the catalogue describes. `title` is the vendor's name for people, `credential` where its key is set.
    """

    role: ClassVar[ProviderRole] = "chat"

    def __init__(
        self,
        name: str,
        http: Shared[aiohttp.ClientSession],
        endpoint: Endpoint | Connect,
        *,
        dialect: Dialect = COMMON,
        unavailable: Callable[[], str | None] = lambda: None,
        own_address: bool = True,
        title: str | None = None,
        credential: str = "its API key",
    ) -> None:
        self.name = name
        self.own_address = own_address
        self.dialect = dialect
        self._http = http
        self._endpoint = endpoint
        self._unavailable = unavailable
        self._title = title or name
        self._credential = credential

    @property
    def lacks(self) -> frozenset[str]:
        """What this vendor's API has no field for."""
        missing = {
            "web_search": self.dialect.web_search is None,
            "top_k": not self.dialect.top_k,
            "reasoning_effort": not self.dialect.efforts and not self.dialect.reasoning_object,
        }
        return frozenset(name for name, is_missing in missing.items() if is_missing)

    @property
    def takes(self) -> frozenset[str]:
        """What this vendor's API has a field for, and few others."""
        return frozenset({"cache_control"} if self.dialect.cache_control else ())

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._unavailable()

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model; the deltas of each read come as one list."""
        return answer_to(request, partial(self._answer, request))

    def _answer(self, request: ChatRequest) -> PushedAnswer:
        named, long = shortened(request)
        body = encoded(chat_body(named, self.dialect, self.name))
        ask = partial(self._ask, body, request.n)
        if isinstance(self._endpoint, Endpoint):
            return lengthened(ask(self._endpoint), long)
        unknown = ModelUnavailable(f"{self._title} has no address.", retryable=True)
        return lengthened(_Sought(self._endpoint, ask, unknown), long)

    def _ask(self, body: Body, choices: int, endpoint: Endpoint) -> Answer:
        vendor = Vendor(self._title, credential=self._credential, secret=endpoint.api_key)
        decoder = ChatDecoder(
            vendor,
            choices=choices,
            reasoning_of=self.name if self.dialect.reasoning_back else None,
        )
        url = f"{endpoint.base_url}/chat/completions"
        return Answer(open_stream(self._http, url, self._headers(endpoint), body, vendor), decoder)

    def _headers(self, endpoint: Endpoint) -> dict[str, str]:
        return {**self.dialect.headers, **bearer(endpoint.api_key)}


class _Sought:
    """An answer from an endpoint that is found anew for it."""

    def __init__(self, connect: Connect, ask: Callable[[Endpoint], Answer], nowhere: ModelUnavailable) -> None:
        self._connect = connect
        self._ask = ask
        self._nowhere = nowhere

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        endpoint = None
        async for step in self._connect():
            if isinstance(step, StatusChanged):
                take(step)
            else:
                endpoint = step
        if endpoint is None:
            raise self._nowhere
        await self._ask(endpoint).push(take)


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that carries a key, or none without a key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
