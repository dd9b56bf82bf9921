"""The log backends that every law is proved against."""

from collections.abc import Callable

from engine.bus.log import Log, MemoryLog

LOGS: dict[str, Callable[[int], Log]] = {"memory": MemoryLog}
