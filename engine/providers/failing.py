"""A call to a provider that failed: counted, and one line in the log."""

from __future__ import annotations

from engine.api.errors import EngineError, ProviderRateLimited, ProviderTimeout, ProviderUnavailable
from engine.api.providers import Target
from engine.log import get_logger
from engine.stats import Stats

log = get_logger(__name__)

_OURS = (ProviderUnavailable, ProviderTimeout, ProviderRateLimited)
"""Errors about the connection, whose words are ours or the network's; those of others may quote the request."""


def note_failure(stats: Stats, target: Target, error: EngineError, *, seconds: float | None = None) -> None:
    """Count the failure, and log it with what its context is about: the request's id, the stream and the principal."""
    stats.provider_errors[target.provider.name, error.code] += 1
    words = {"reason": _reason(error)} if isinstance(error, _OURS) else {"pii_reason": _reason(error)}
    log.warning(
        "provider_call_failed",
        provider=target.provider.name,
        model=target.name,
        code=error.code,
        retryable=error.retryable,
        seconds=None if seconds is None else round(seconds, 3),
        **words,
    )


def _reason(error: EngineError) -> str:
    return error.detail or error.message
