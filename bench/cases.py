"""What is measured: each case's mode, traffic, clients and length."""

from typing import Literal

import msgspec

from bench.traffic import Traffic

Mode = Literal["sse", "json", "ws", "idle", "vanish", "startup"]


class Case(msgspec.Struct, frozen=True):
    """`seconds` are measured after `warmup`; `direct` names the case whose direct run tells the latency without a relay."""

    name: str
    mode: Mode
    traffic: Traffic = Traffic(1, 0)
    clients: int = 0
    seconds: float = 0.0
    warmup: float = 0.0
    direct: str = ""

    def quick(self) -> "Case":
        """The same case, long enough to see a regression and too short to quote."""
        return msgspec.structs.replace(self, seconds=self.seconds / 2)


SPACED, BURST, SHORT, ENDLESS = Traffic(60, 50), Traffic(200, 0), Traffic(1, 0), Traffic(100_000, 100)

# Those that overload a slow server come last: it may need long to get over them.
CASES = (
    Case("startup", "startup"),
    Case("sse100", "sse", SPACED, 100, 4.0, 3.2, "sse100"),
    Case("ws100", "ws", SPACED, 100, 4.0, 3.2, "sse100"),
    Case("burst_sse", "sse", BURST, 32, 3.0, 1.5),
    Case("burst_ws", "ws", BURST, 32, 3.0, 1.5),
    Case("sse_short", "sse", SHORT, 32, 2.5, 1.0),
    Case("json32", "json", SHORT, 32, 2.5, 1.0),
    Case("sse1", "sse", SHORT, 1, 1.5, 0.7, "sse1"),
    Case("idle", "idle", clients=2000),
    Case("sse1000", "sse", SPACED, 1000, 5.0, 6.5, "sse1000"),
    Case("ws1000", "ws", SPACED, 1000, 5.0, 6.5, "sse1000"),
    Case("vanish", "vanish", ENDLESS, 1000),
)
BY_NAME = {case.name: case for case in CASES}
QUICK = ("startup", "sse100", "ws100", "burst_ws", "json32", "idle")
