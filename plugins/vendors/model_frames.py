"""The frames between the server and a process that holds a model: a number, a kind, a payload.

The number says whose exchange it is; 0 is the process itself. Both directions have the same form, and whoever reads a kind
that is not known to him is of another version.
"""

from __future__ import annotations

import struct

HEAD = struct.Struct(">IBI")
"""Number of the exchange, kind, bytes of the payload; big-endian."""

PROCESS = 0

ORDER = 1
"""To the process, first: what to load, as JSON."""

READY = 2
"""From the process: the model is loaded; JSON says what it is."""

REFUSED = 3
"""From the process: the model cannot be loaded; the payload is the reason, for people. The process ends."""

OPEN = 4
"""Begins an exchange; JSON says what is wanted."""

DATA = 5
"""Samples, either way."""

END = 6
"""To the process: no more data comes. From it: the exchange is over, all is said."""

TOLD = 7
"""From the process: JSON of the model's own form."""

FAILED = 8
"""From the process: the exchange is over; the payload is the reason, for people."""

LEFT = 9
"""To the process: nobody waits for this exchange any more."""

LONGEST = 1 << 24
"""Bytes of a payload."""


def frame(number: int, kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(number, kind, len(payload)) + payload
