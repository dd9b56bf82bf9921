"""What went wrong with a provider, told for people, and logged with its plugin and the place in its code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from engine.api.errors import EngineError, ProviderError
from engine.api.providers import Provider
from engine.config.secrecy import mask_text
from engine.guard import Contained, PluginExited, WrongAnswer, defined_at, is_ours, raised_at
from engine.log import get_logger
from engine.stats import Stats

T = TypeVar("T")
log = get_logger(__name__)

MOST_LOGGED = 500
"""Characters of an error's text that the log holds."""


class WrongDelta(WrongAnswer):
    """Raised when a provider yields what its role does not; the message says what is due, for its author."""


def explained(raised: BaseException, provider: Provider, name: str, stats: Stats) -> EngineError | None:
    """The error for who asked; None for what is no failure of the provider's: a cancel, an interrupt of the program.

    Of an error that no provider should raise only the kind is told: its text may hold a credential. The log has the text,
    without what looks like one.
    """
    if isinstance(raised, EngineError):
        return raised
    if is_ours(raised):
        return None
    source = raised.__cause__ if isinstance(raised, PluginExited) else raised
    kind = type(source).__name__
    log.error(
        "provider_crashed",
        provider=provider.name,
        plugin=stats.provider_owners.get((provider.role, provider.name)),
        error=str(raised) if isinstance(raised, WrongDelta) else mask_text(f"{kind}: {source}"[:MOST_LOGGED]),
        at=raised_at(raised),
    )
    if isinstance(raised, WrongDelta):
        return ProviderError(
            f"the provider of {name} answered with something that is not a valid delta; the log says what was expected"
        )
    return ProviderError(f"the provider of {name} failed unexpectedly ({kind}); the log says where")


async def step(source: AsyncIterator[T]) -> T | None:
    """The next thing of a provider's iterator, None at its end: for a task of its own, which nothing but a cancel may end."""
    with Contained("a provider"):
        return await anext(source, None)


def wrong_delta(given: object, due: str, source: object) -> WrongDelta:
    """The error for a thing of the wrong type that an iterator of a provider's has yielded."""
    function = getattr(source, "__qualname__", type(source).__qualname__)
    code, frame = getattr(source, "ag_code", None), getattr(source, "ag_frame", None)
    if code is not None:
        at = f"{code.co_filename}:{frame.f_lineno if frame is not None else code.co_firstlineno}"
    else:
        at = defined_at(getattr(type(source), "push", source))
    place = f" at {at}" if at else ""
    return WrongDelta(f"{function}{place} yielded {type(given).__name__!r}; {due} is due", at)
