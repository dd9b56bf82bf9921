"""A model as `/v1/models` shows it."""

from __future__ import annotations

import msgspec

from engine.api import Price


class ModelCard(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A model that can be used now; what follows `owned_by` is ours.

    `created` is 0: the catalogue does not know it. `context` and `max_output` are in tokens, prices in US dollars for a
    million of them.
    """

    id: str
    object: str
    created: int
    owned_by: str
    shutdown_date: str | None = None
    role: str | None = None
    aliases: list[str] = []
    context: int | None = None
    max_output: int | None = None
    capabilities: list[str] = []
    price: Price | None = None
    successor: str | None = None
    description: str = ""
