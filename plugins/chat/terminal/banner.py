"""What a person sees before the first message: which server this is, and which model answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec


class KnownModel(msgspec.Struct):
    """A model of the server, as far as a person wants to know it."""

    id: str
    aliases: list[str] = []
    description: str = ""


class Answering(msgspec.Struct):
    """The server's answer to `GET /api/v1/models`. `default` is missing in older servers."""

    models: list[KnownModel]
    default: str | None = None


def banner(address: str, version: str, models: Answering | None, chosen: str | None) -> Iterator[str]:
    """The lines, without styles. `models` is None where the server did not say them."""
    yield f"BetterAI {version} at {address}"
    if models is None:
        if chosen:
            yield f"model {chosen}"
        return
    name = chosen or models.default
    if name is None:
        yield "no model can answer now; `betterai models` lists those that can be asked, and /model NAME takes one"
        return
    known = _known(models.models, name)
    yield f"model {name}: {known.description}" if known is not None and known.description else f"model {name}"


def _known(models: Sequence[KnownModel], name: str) -> KnownModel | None:
    return next((model for model in models if name == model.id or name in model.aliases), None)
