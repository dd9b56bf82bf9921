"""What the tests of the bus share: a bus on each log backend, and a clock that they set."""

from __future__ import annotations

import pytest

from engine.bus.bus import Bus
from tests.engine.bus.logs import LOGS


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=LOGS)
def bus(request: pytest.FixtureRequest, clock: Clock) -> Bus:
    return Bus(clock=clock, stream_bytes=20_000, memory=40_000, keep=300.0, log=LOGS[request.param])
