"""Embeddings of Google's models, through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from engine.api import Embedded, EmbeddingRequest, PluginContext, ProviderRole, Shared, UnsupportedParameter
from plugins.chat.providers.google import NAME
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.settings import GoogleSettings

if TYPE_CHECKING:
    from google import genai


class GoogleEmbeddings:
    """An embedding provider of the Gemini API."""

    role: ClassVar[ProviderRole] = "embedding"
    name = NAME

    def __init__(self, settings: GoogleSettings, context: PluginContext) -> None:
        self._settings = settings
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )
        self._client: Shared[genai.Client] = context.shared(self._open)

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if find_spec("google.genai") is None:
            return "the package google-genai is not installed: pip install 'betterai-engine[google]'"
        return self._settings.unavailable

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input; usage is estimated, since Google tells none."""
        # Imported on first use: a server that embeds nothing starts without the SDK.
        from google.genai import errors, types

        texts = [each for each in request.inputs if isinstance(each, str)]
        if len(texts) < len(request.inputs):
            raise UnsupportedParameter("Google embeds texts, not lists of tokens.", field="input")
        client = await self._client.get()
        contents: Any = [types.Content(parts=[types.Part(text=text)]) for text in texts]
        try:
            made = await client.aio.models.embed_content(
                model=request.model,
                contents=contents,
                config=types.EmbedContentConfig(output_dimensionality=request.dimensions),
            )
        except errors.APIError as error:
            raise self._vendor.failure(msgspec.json.encode(error.details), status=error.code) from None
        except (OSError, TimeoutError) as error:
            raise self._vendor.unreachable(type(error).__name__) from None
        return Embedded(vectors=[each.values or [] for each in made.embeddings or ()], model=request.model)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[genai.Client]:
        # Imported on first use, as above.
        from google import genai

        # It has more types than all else that runs here.
        from google.genai import types

        options = types.HttpOptions(base_url=self._settings.base_url, api_version="v1beta")
        client = genai.Client(api_key=self._settings.key, http_options=options)
        try:
            yield client
        finally:
            await client.aio.aclose()
