"""`POST /v1/embeddings`: texts as vectors (types: `openai.types.embedding_create_params`)."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, Field

from engine.api import Answer, Body, EmbeddingRequest, HttpRequest, InvalidRequest, Providers, Route
from plugins.openai_api.naming import embedding_named
from plugins.openai_api.responses_errors import answer_error

MOST_INPUTS = 2048

Tokens = Annotated[list[int], Field(min_length=1)]


class EmbeddingsBody(Body):
    """Texts to embed. Fields that are not listed here go to the vendor as they are."""

    model_config = ConfigDict(extra="allow")

    input: str | list[str] | list[int] | list[Tokens] = Field(
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
                    404: "model_not_found",
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
        tokens = made.usage.input_tokens if made.usage is not None else 0
        encode = _in_base64 if body.encoding_format == "base64" else list
        return Answer(
            EmbeddingList(
                object="list",
                data=[
                    EmbeddingRow(object="embedding", index=at, embedding=encode(vector))
                    for at, vector in enumerate(made.vectors)
                ],
                model=made.model or model.target.name,
                usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
            )
        )


def _inputs(given: Any) -> tuple[str | tuple[int, ...], ...]:
    """Each input, checked; raises `InvalidRequest` that names the one at fault."""
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    if not given:
        raise InvalidRequest("input is empty; send a text or texts", field="input")
    if len(given) > MOST_INPUTS:
        raise InvalidRequest(f"input has {len(given)} texts; at most {MOST_INPUTS} go in one request", field="input")
    for at, each in enumerate(given):
        if not each:
            field = f"input.{at}" if len(given) > 1 else "input"
            raise InvalidRequest(f"{field} is empty; a vector is of something", field=field)
    return tuple(each if isinstance(each, str) else tuple(each) for each in given)


def _in_base64(vector: Sequence[float]) -> str:
    numbers = array("f", vector)
    if array("H", [1]).tobytes() != b"\x01\x00":  # the wire is little-endian, whatever this machine is
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
