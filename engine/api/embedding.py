"""What an embedding provider is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.api.events import Cost, Usage


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to turn into vectors; an input may be a list of the model's own tokens instead.

    `model` is the vendor's own name of it. `dimensions` shortens the vectors, where the model can.
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    user: str | None = None
    provider_options: Mapping[str, Any] = {}


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each input, in their order. `usage` is what the vendor counted, `model` the one that answered.

    `cost` is filled in by the engine, from the catalogue's price.
    """

    vectors: Sequence[Sequence[float]]
    usage: Usage | None = None
    model: str | None = None
    cost: Cost | None = None
