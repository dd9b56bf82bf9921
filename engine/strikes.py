"""Strikes: which blocks of the event loop count against a plugin, and which plugins were switched off for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

from engine.blocking import OF_THE_ENGINE, Blocked
from engine.loader.load import StruckOut
from engine.log import get_logger
from engine.stats import Stats

log = get_logger(__name__)

STRIKES_WITHIN = 600.0
"""Seconds for which a block counts."""

SMALL_REQUEST = 4096
"""Bytes of a request whose cost a plugin answers for; what computes for a larger one may be the request's cost."""

WORTH_A_LINE = 1.0
"""Seconds of a block from which on `/health/ready` tells of it."""


class Strikes:
    """Counts blocks for each plugin. `own` gives the plugins that are shipped with the engine: they are never struck out."""

    def __init__(
        self,
        stats: Stats,
        clock: Callable[[], float],
        allowed: Callable[[], int],
        own: Callable[[], Collection[str]],
        strike_out: Callable[[str, StruckOut], None],
    ) -> None:
        self._stats = stats
        self._clock = clock
        self._allowed = allowed
        self._own = own
        self._strike_out = strike_out
        self._strikes: defaultdict[str, list[float]] = defaultdict(list)
        self._blocks: list[tuple[float, Blocked]] = []

    def count(self, block: Blocked) -> None:
        """Count a block that is over, and strike its plugin out after the last strike that it has."""
        self._stats.blocks[block.plugin] += 1
        now, allowed = self._clock(), self._allowed()
        self._blocks = [*self._recent(), (now, block)][-100:]
        excuse = self._excuse(block)
        strikes = self._strikes[block.plugin]
        if excuse is None:
            strikes[:] = [*(at for at in strikes if now - at < STRIKES_WITHIN), now]
        log.error(
            "loop_block_over",
            plugin=block.plugin,
            at=block.place,
            function=block.function,
            seconds=block.seconds,
            cause=block.cause,
            strike=f"{len(strikes)} of {allowed}" if excuse is None else f"no: {excuse}",
        )
        if excuse is None and 0 < allowed <= len(strikes):
            struck = _struck_out(block, len(strikes))
            self.forget(block.plugin)
            self._strike_out(block.plugin, struck)

    def forget(self, plugin: str) -> None:
        """Begin anew with a plugin: its operator switched it on."""
        self._strikes.pop(plugin, None)

    def summary(self) -> str:
        """Who blocked the loop for long in the last minutes, for people; empty where nobody did."""
        longest: dict[str, tuple[int, float]] = {}
        for _, block in self._recent():
            if block.seconds >= WORTH_A_LINE:
                times, most = longest.get(block.plugin, (0, 0.0))
                longest[block.plugin] = times + 1, max(most, block.seconds)
        said = [
            f"{plugin!r} held the event loop {_often(times)}, {most:.1f} s at most"
            for plugin, (times, most) in longest.items()
        ]
        return f"in the last ten minutes {', '.join(said)}; the log says where" if said else ""

    def _recent(self) -> list[tuple[float, Blocked]]:
        now = self._clock()
        return [(at, block) for at, block in self._blocks if now - at < STRIKES_WITHIN]

    def _excuse(self, block: Blocked) -> str | None:
        """Why a block is no strike; None where it is one."""
        if block.plugin == OF_THE_ENGINE or block.plugin in self._own():
            return "shipped with the engine"
        if "," in block.plugin:
            return "several plugins share this code"
        if block.cause == "import":
            return "an import"
        if block.cause == "library":
            return "a library's cost"
        if block.cause == "compute" and block.request_size > SMALL_REQUEST:
            return "the cost of a large request"
        return None


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _struck_out(block: Blocked, times: int) -> StruckOut:
    said = f"was switched off: it held the event loop {_often(times)} in ten minutes, the last time for {block.seconds:.1f} s"
    return StruckOut(f"{said}; the log says where", f"{said} at {block.place} ({block.function})")
