"""Why a provider cannot serve, also where the provider fails to say it."""

from engine.api.providers import Provider
from engine.guard import is_ours
from engine.log import get_logger
from engine.wire.hiding import without_places

log = get_logger(__name__)

MOST_REPORTED = 1000
_reported: dict[tuple[str, str, str], None] = {}
"""Failures that the log has in full, so that a list that is asked for every second does not fill it."""


def obstacle(provider: Provider, *, places: bool = False) -> str | None:
    """The provider's `unavailable`, or None when it can serve; with files and addresses only where `places` says so, for the
    operator.

    A provider whose property raises cannot serve, and is named with the error's type; other providers are not affected.
    """
    try:
        reason = provider.unavailable
    except BaseException as error:
        if is_ours(error):
            raise
        _report(provider, error)
        return f"its own check of what it needs failed with {type(error).__name__}; the log has the details"
    if reason is None:
        return None
    return str(reason) if places else without_places(str(reason))


def _report(provider: Provider, error: BaseException) -> None:
    which = (provider.role, provider.name, f"{type(error).__name__}: {error}"[:200])
    if which in _reported:
        return
    if len(_reported) >= MOST_REPORTED:
        _reported.pop(next(iter(_reported)))
    _reported[which] = None
    log.error("provider_check_failed", role=provider.role, provider=provider.name, exc_info=error)
