"""What `/health/ready` says: the plugins that failed, and how the others say that they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from engine.api.plugin import HealthCheck
from engine.config import ConfigError
from engine.guard import raised_at
from engine.loader.guarding import CHECKED_WITHIN, CheckTooSlow
from engine.loader.load import Part
from engine.log import get_logger

log = get_logger(__name__)


class CheckLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How one part stands."""

    name: str
    state: Literal["ok", "loading", "degraded", "failed"]
    detail: str = ""


def check_lines(
    parts: Iterable[Part], checks: Iterable[tuple[str, HealthCheck]], faults: Mapping[str, Sequence[ConfigError]]
) -> list[CheckLine]:
    """A line for every plugin that failed or was struck out, for each settings table with `faults`, and for each check."""
    failed = [
        CheckLine(name=part.name, state="degraded", detail=part.struck or part.reason or "off")
        for part in parts
        if (part.enabled and not part.on) or part.struck is not None
    ]
    failed += [
        CheckLine(name=table, state="degraded", detail="; ".join(error.public for error in errors))
        for table, errors in faults.items()
    ]
    return failed + [_line(owner, check) for owner, check in checks]


def _line(owner: str, check: HealthCheck) -> CheckLine:
    name = f"{owner}.{check.name}"
    try:
        health = check.check()
        return CheckLine(name=name, state=health.state, detail=health.detail)
    except CheckTooSlow:
        log.warning("health_check_slow", plugin=owner, check=check.name, seconds=CHECKED_WITHIN)
        return CheckLine(name=name, state="degraded", detail=f"the check did not answer within {CHECKED_WITHIN:g} s")
    except Exception as error:
        log.exception("health_check_crashed", plugin=owner, check=check.name, at=raised_at(error))
        return CheckLine(name=name, state="degraded", detail=f"the check itself failed: {type(error).__name__}")
