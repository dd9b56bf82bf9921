"""WAV (RIFF WAVE, PCM of 16 bits): the header of a file or of a stream whose length is not known."""

from __future__ import annotations

import struct

HEADER = 44
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_UNKNOWN = 0xFFFFFFFF


def wav_header(rate: int, samples: int | None = None, channels: int = 1) -> bytes:
    """The 44 bytes before the samples; without a count of them, the lengths that mean "until the end"."""
    size = _UNKNOWN if samples is None else samples * 2 * channels
    whole = _UNKNOWN if samples is None else size + HEADER - 8
    return _HEADER.pack(
        b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16, b"data", size
    )


def wav_rate(header: bytes) -> int:
    """Samples a second, as such a header says."""
    return int(_HEADER.unpack(header)[7])
