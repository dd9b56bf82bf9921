"""Which blocks of the event loop count against a plugin, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.blocking import Blocked, Cause
from engine.loader.load import StruckOut
from engine.stats import Stats
from engine.strikes import Strikes

BLOCK = Blocked("acme", "/site/acme/work.py", 12, "work", 1.5, "wait")


class Bench:
    """Strikes with two allowed, of a server that ships `chat`, at a time of our own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.struck: dict[str, StruckOut] = {}
        self.stats = Stats()
        self.strikes = Strikes(
            self.stats, lambda: self.now, lambda: 2, lambda: {"chat"}, lambda name, why: self.struck.update({name: why})
        )

    def count(self, *blocks: Blocked) -> None:
        for block in blocks:
            self.strikes.count(block)


def test_a_plugin_is_struck_out_after_its_last_strike() -> None:
    bench = Bench()
    bench.count(BLOCK)
    before = dict(bench.struck)
    bench.count(replace(BLOCK, seconds=2.5))
    said = "was switched off: it held the event loop 2 times in ten minutes, the last time for 2.5 s"
    assert before == {}
    assert bench.struck == {"acme": StruckOut(f"{said}; the log says where", f"{said} at /site/acme/work.py:12 (work)")}


def test_a_strike_counts_for_ten_minutes() -> None:
    bench = Bench()
    bench.count(BLOCK)
    bench.now = 601.0
    bench.count(BLOCK)
    assert not bench.struck


@pytest.mark.parametrize(
    ("plugin", "cause", "request_size"),
    [
        ("chat", "wait", 0),
        ("engine", "compute", 0),
        ("acme,other", "wait", 0),
        ("acme", "import", 0),
        ("acme", "library", 0),
        ("acme", "compute", 300_000),
    ],
    ids=["shipped", "engine", "shared file", "import", "library", "large request"],
)
def test_a_block_that_is_not_the_plugins_fault_is_counted_and_is_no_strike(
    plugin: str, cause: Cause, request_size: int
) -> None:
    bench = Bench()
    bench.count(*[replace(BLOCK, plugin=plugin, cause=cause, request_size=request_size)] * 5)
    assert not bench.struck
    assert bench.stats.blocks[plugin] == 5


def test_a_call_that_waits_is_a_strike_however_large_the_request_is() -> None:
    bench = Bench()
    bench.count(*[replace(BLOCK, request_size=300_000)] * 2)
    assert list(bench.struck) == ["acme"]


def test_long_blocks_of_the_last_minutes_are_summed_up_without_a_file_name() -> None:
    bench = Bench()
    bench.count(replace(BLOCK, plugin="chat", seconds=4.7), replace(BLOCK, plugin="chat"), replace(BLOCK, seconds=0.6))
    assert bench.strikes.summary() == (
        "in the last ten minutes 'chat' held the event loop 2 times, 4.7 s at most; the log says where"
    )
    bench.now = 601.0
    assert bench.strikes.summary() == ""
