"""Samples of 16 bits as the 8 bits of a telephone line, and back: mu-law and A-law of ITU-T G.711.

https://www.itu.int/rec/T-REC-G.711. A code is one byte; samples are signed and little-endian.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from functools import cached_property
from typing import Literal

Law = Literal["mulaw", "alaw"]

_BIAS = 132
_LARGEST = 32_767 - _BIAS


class G711:
    """One law. Its tables are made at their first use."""

    def __init__(self, expand: Callable[[int], int], compress: Callable[[int], int]) -> None:
        self._expand = expand
        self._compress = compress

    def decode(self, codes: bytes) -> bytes:
        """To samples: two bytes for each code."""
        low, high = self._samples
        pcm = bytearray(2 * len(codes))
        pcm[::2] = codes.translate(low)
        pcm[1::2] = codes.translate(high)
        return bytes(pcm)

    def encode(self, pcm: bytes) -> bytes:
        """To codes: one byte for each sample. Raises ValueError where half a sample is left over."""
        samples = array("H", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        return bytes(map(self._codes.__getitem__, samples))

    @cached_property
    def _samples(self) -> tuple[bytes, bytes]:
        """The lower and the upper byte of each code's sample."""
        samples = [self._expand(code) & 0xFFFF for code in range(256)]
        return bytes(sample & 0xFF for sample in samples), bytes(sample >> 8 for sample in samples)

    @cached_property
    def _codes(self) -> bytes:
        """The code of each sample, by its 16 bits without a sign."""
        return bytes(self._compress(bits - 0x10000 if bits & 0x8000 else bits) for bits in range(0x10000))


def _from_mulaw(code: int) -> int:
    code ^= 0xFF
    size = (((code & 0x0F) << 3) + _BIAS) << (code >> 4 & 7)
    return _BIAS - size if code & 0x80 else size - _BIAS


def _to_mulaw(sample: int) -> int:
    size = min(abs(sample), _LARGEST) + _BIAS
    segment = size.bit_length() - 8
    return ((0x80 if sample < 0 else 0) | segment << 4 | (size >> segment + 3 & 0x0F)) ^ 0xFF


def _from_alaw(code: int) -> int:
    code ^= 0x55
    segment, size = code >> 4 & 7, ((code & 0x0F) << 4) + 8
    if segment:
        size = size + 0x100 << segment - 1
    return size if code & 0x80 else -size


def _to_alaw(sample: int) -> int:
    # The negative half begins at -1: there is no code for nought, and none twice.
    size = sample if sample >= 0 else ~sample
    segment = max(size.bit_length() - 8, 0)
    step = size >> segment + 3 if segment else size >> 4
    return ((0x80 if sample >= 0 else 0) | segment << 4 | step & 0x0F) ^ 0x55


LAWS: dict[Law, G711] = {"mulaw": G711(_from_mulaw, _to_mulaw), "alaw": G711(_from_alaw, _to_alaw)}
"""Both, by their names on the wire."""
