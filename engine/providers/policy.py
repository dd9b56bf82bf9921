"""How patient the engine is with providers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ResiliencePolicy:
    """Bounds around every call to a provider; times are in seconds.

    `connect` bounds a provider that says it is connecting, `first_event` the wait until it begins to answer, `idle` every
    silence after that, `total` the whole call.
    `retries` are further attempts at one target. After `breaker_failures` failures in a row a provider is left alone
    for `breaker_reset`.
    """

    connect: float = 10.0
    first_event: float = 60.0
    idle: float = 120.0
    total: float = 600.0
    retries: int = 2
    breaker_failures: int = 5
    breaker_reset: float = 30.0
