"""Embeddings of Google's models, asked over our own connections and decoded off the event loop."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import aiohttp
import msgspec

from engine.api import Embedded, EmbeddingRequest, PluginContext, ProviderRole, Shared, UnsupportedParameter
from engine.wire.apart import apart_if, is_large
from plugins.chat.providers.google import NAME, model_url
from plugins.vendors.decoding import encode_body
from plugins.vendors.embeddings import longest_answer
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.large import JSON, apart, post_document
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import vendor_http
from plugins.vendors.vectors import BadVectors, Lifted, same_length, vector, yielding

_COLLECTIONS = ("models/", "tunedModels/")
_OPTIONS = {"task_type": "taskType", "taskType": "taskType", "title": "title"}


class _Row(msgspec.Struct):
    values: Any = None


class _Document(msgspec.Struct):
    embeddings: list[_Row] = []


class GoogleEmbeddings:
    """An embedding provider of the Gemini API."""

    role: ClassVar[ProviderRole] = "embedding"
    name = NAME

    def __init__(self, settings: GoogleSettings, context: PluginContext) -> None:
        self._settings = settings
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )
        self._headers = {**JSON, **({"x-goog-api-key": settings.key} if settings.key else {})}
        self._http: Shared[aiohttp.ClientSession] = context.shared(vendor_http)

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input; usage is estimated, since Google reports none."""
        if not all(isinstance(each, str) for each in request.inputs):
            raise UnsupportedParameter("Google embeds texts, not lists of tokens.", field="input")
        url = model_url(self._settings.base_url, request.model, "batchEmbedContents")
        asked, longest = _body(request), longest_answer(len(request.inputs))
        body = await apart_if(is_large(asked), partial(encode_body, asked))
        answer = await post_document(self._http, url, self._headers, body, self._vendor, longest=longest)
        return await apart(len(answer), lambda: self._read(answer, request))

    def _read(self, answer: bytes, request: EmbeddingRequest) -> Embedded:
        try:
            lifted = Lifted(answer, most=4 * len(request.inputs) + 1_000)
            rows = msgspec.json.decode(lifted.document, type=_Document).embeddings
            if len(rows) != len(request.inputs):
                raise BadVectors(f"it gave {len(rows)} vectors for {len(request.inputs)} inputs")
            vectors = [vector(row.values, lifted) for row in yielding(rows)]
            same_length(vectors, request.dimensions)
        except BadVectors as error:
            raise self._vendor.broke_protocol(str(error)) from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._vendor.broke_protocol("its answer is not one of embeddings") from None
        return Embedded(vectors=vectors, model=request.model)


def _body(request: EmbeddingRequest) -> dict[str, Any]:
    model = request.model if request.model.startswith(_COLLECTIONS) else f"models/{request.model}"
    options = {_OPTIONS[name]: value for name, value in request.provider_options.items() if name in _OPTIONS}
    if request.dimensions is not None:
        options["outputDimensionality"] = request.dimensions
    return {
        "requests": [{"model": model, "content": {"parts": [{"text": each}]}, **options} for each in request.inputs]
    }
