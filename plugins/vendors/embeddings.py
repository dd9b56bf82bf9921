"""Embeddings of any server that speaks OpenAI's API, through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from engine.api import Embedded, EmbeddingRequest, EngineError, PluginContext, ProviderRole, Shared, Usage
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import retry_after
from plugins.vendors.openai_compatible import Endpoint

if TYPE_CHECKING:
    import openai


class OpenAIEmbeddings:
    """An embedding provider behind one address. `unavailable` says what the operator has to set before it can serve."""

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
        self._endpoint = endpoint
        self._unavailable = unavailable
        self._vendor = Vendor(title or name, credential=credential, secret=endpoint.api_key)
        self._client: Shared[openai.AsyncOpenAI] = context.shared(self._open)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if find_spec("openai") is None:
            return "the package openai is not installed: pip install 'betterai-engine[openai]'"
        return self._unavailable()

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input."""
        # Imported on first use: a server that embeds nothing starts without the SDK.
        import openai

        client = await self._client.get()
        try:
            made = await client.embeddings.create(
                model=request.model,
                input=[each if isinstance(each, str) else list(each) for each in request.inputs],  # type: ignore[arg-type]
                encoding_format="float",
                **_fields(request),
            )
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            raise self._vendor.unreachable(type(error.__cause__ or error).__name__) from None
        except openai.APIError:
            raise self._vendor.broke_protocol("its answer is not one of embeddings") from None
        rows = sorted(made.data or (), key=lambda row: row.index)
        # Not every imitator of the API counts.
        usage: Any = made.usage
        return Embedded(
            vectors=[row.embedding for row in rows],
            usage=Usage(input_tokens=usage.prompt_tokens) if usage is not None else None,
            model=made.model,
        )

    def _refused(self, error: openai.APIStatusError) -> EngineError:
        headers = {name.title(): value for name, value in error.response.headers.items()}
        return self._vendor.failure(error.response.content, status=error.status_code, retry_after=retry_after(headers))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[openai.AsyncOpenAI]:
        # Imported on first use, as above.
        import openai

        # Retries are the engine's; an address without a key is asked without one.
        client = openai.AsyncOpenAI(
            api_key=self._endpoint.api_key or "none", base_url=self._endpoint.base_url, max_retries=0
        )
        async with client:
            yield client


def _fields(request: EmbeddingRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {"extra_body": dict(request.provider_options)} if request.provider_options else {}
    if request.dimensions is not None:
        fields["dimensions"] = request.dimensions
    if request.user is not None:
        fields["user"] = request.user
    return fields
