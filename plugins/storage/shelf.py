"""Where the bytes of objects lie: on this machine's disk, or at a vendor's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from engine.api import random_hex

_ID = re.compile(r"o_[0-9a-f]{28}")
ID = r"^o_[0-9a-f]{28}$"
"""The form of an object's id, for descriptions."""


def new_id(at: datetime) -> str:
    """`o_`, 12 hexadecimal digits of milliseconds since 1970, and 16 random ones: ids sort by their time."""
    return f"o_{int(at.timestamp() * 1000):012x}{random_hex(8)}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an id, and so can be no path."""
    return _ID.fullmatch(text) is not None


class Shelf(Protocol):
    """Keeps bytes under the ids of objects; whose they are is not its matter. Raises `StorageUnavailable`."""

    async def open(self) -> None:
        """Make it ready; raises what the operator has to know."""
        ...

    async def write(self, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Put down what comes, whole and to stay, or nothing; gives its size."""
        ...

    def read(self, id: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`."""
        ...

    async def remove(self, id: str) -> None:
        """Take away what is there, also what was put down in part; nothing happens where nothing is."""
        ...

    def resting(self, since: datetime) -> AsyncIterator[Sequence[str]]:
        """The ids of all that is there and was not written to since then, whole or in part."""
        ...
