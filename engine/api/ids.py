"""Random ids that nobody can guess."""

from __future__ import annotations

import os
import threading

_POOL_BYTES = 8192


class _Pool(threading.local):
    """Random bytes of the operating system, asked for in large pieces: each call for some costs more than a request's JSON.

    Every byte is given out once: each thread has bytes of its own.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._bytes):
            self._bytes = os.urandom(max(_POOL_BYTES, count))
            self._at, end = 0, count
        taken = self._bytes[self._at : end]
        self._at = end
        return taken


_pool = _Pool()
# A forked child must not give out its parent's bytes again.
os.register_at_fork(after_in_child=lambda: _pool.__init__())  # type: ignore[misc]


def random_hex(count: int) -> str:
    """`count` random bytes as twice as many hexadecimal digits."""
    return _pool.take(count).hex()
