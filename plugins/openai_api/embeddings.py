"""`POST /v1/embeddings`: texts as vectors (types: `openai.types.embedding_create_params`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, FailFast, Field

from engine.api import (
    Answer,
    Body,
    Embedded,
    EmbeddingRequest,
    HttpRequest,
    InvalidRequest,
    Providers,
    Route,
)
from plugins.openai_api.naming import embedding_named
from plugins.openai_api.responses_errors import answer_error
from plugins.vendors.large import apart
from plugins.vendors.vectors import as_list, in_base64, yielding

MOST_INPUTS = 2048
MOST_TOKENS = 300_000
"""Tokens of one input; OpenAI takes as many in one request."""

_BYTES = 20  # that a number has in JSON


class _AtTheFirst(FailFast):
    """Refuses a list at its first wrong item, and not with an error for each."""

    # A part of a union is looked up by its hash.
    __hash__ = object.__hash__


Texts = Annotated[list[str], Field(max_length=MOST_INPUTS), _AtTheFirst()]
Tokens = Annotated[list[int], Field(max_length=MOST_TOKENS), _AtTheFirst()]
EachInTokens = Annotated[list[Tokens], Field(max_length=MOST_INPUTS), _AtTheFirst()]


class EmbeddingsBody(Body):
    """Texts to embed. Fields that are not listed here go to the vendor as they are."""

    model_config = ConfigDict(extra="allow")

    input: str | Texts | Tokens | EachInTokens = Field(
        description="A text, texts, or the model's own tokens in their place."
    )
    model: str | None = Field(
        default=None,
        max_length=200,
        description="As for chat; absent: [models] embedding.",
    )
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = Field(default=None, max_length=200)


class EmbeddingRow(msgspec.Struct, kw_only=True):
    """One vector: numbers, or their 32-bit floats, little-endian, in base64."""

    object: Literal["embedding"]
    index: int
    embedding: Sequence[float] | str


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    """Tokens of the input."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, kw_only=True):
    """A vector for each input. `model` is the one that answered."""

    object: Literal["list"]
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingUsage


class EmbeddingRoutes:
    """Asks the registry's embedding models."""

    def __init__(self, providers: Providers, default_vendor: str) -> None:
        self._providers = providers
        self._default_vendor = default_vendor

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="POST",
                path="/v1/embeddings",
                handler=self.create,
                body=EmbeddingsBody,
                returns=EmbeddingList,
                errors=answer_error,
                summary="Texts as vectors.",
                tag="openai",
                statuses={
                    404: "model_not_found, feature_disabled",
                    429: "rate_limit_exceeded",
                    502: "provider_error and its kin",
                    503: "model_unavailable",
                    504: "provider_timeout",
                },
            )
        ]

    async def create(self, request: HttpRequest[EmbeddingsBody, Any]) -> Answer:
        body = request.body
        model = embedding_named(self._providers, body.model, self._default_vendor)
        options = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
        asked = EmbeddingRequest(
            model=model.target.model,
            inputs=_inputs(body.input),
            dimensions=body.dimensions,
            user=body.user,
            provider_options=options,
        )
        made = await model.embed(asked, request.principal)
        name = made.model or model.target.name
        size = sum(map(len, made.vectors)) * _BYTES
        return Answer(await apart(size, partial(_encoded, made, name, body.encoding_format == "base64")))


def _encoded(made: Embedded, name: str, base64: bool) -> bytes:
    """The JSON of an `EmbeddingList`, made of one vector after the other."""
    encode = _quoted if base64 else as_list
    tokens = made.usage.input_tokens if made.usage is not None else 0
    last = {"model": name, "usage": EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)}
    pieces: list[bytes] = []
    head = b'{"object":"list","data":['
    for at, vector in enumerate(yielding(made.vectors)):
        pieces += (head, b'{"object":"embedding","index":%d,"embedding":' % at, encode(vector), b"}")
        head = b","
    # Of all ways to copy, joining alone lets other threads run meanwhile.
    return b"".join((*pieces, b"],", msgspec.json.encode(last)[1:]))


def _quoted(vector: Sequence[float]) -> bytes:
    return b'"%b"' % in_base64(vector)


def _inputs(given: Any) -> tuple[str | tuple[int, ...], ...]:
    """Each input, checked; raises `InvalidRequest` that names the one at fault."""
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    if not given:
        raise InvalidRequest("input is empty; send a text or texts", field="input")
    if len(given) > MOST_INPUTS:
        raise InvalidRequest(f"input has {len(given)} texts; at most {MOST_INPUTS} go in one request", field="input")
    for at, each in enumerate(given):
        # Whether an empty text has a vector is for the vendor to say: several give one, and programs that cut files send some.
        if not each and not isinstance(each, str):
            raise InvalidRequest(f"input.{at} is empty; send tokens", field=f"input.{at}")
    return tuple(each if isinstance(each, str) else tuple(each) for each in given)
