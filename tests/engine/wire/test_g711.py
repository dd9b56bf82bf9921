"""Telephone codes: what the recommendation's tables say, and what any two such tables must keep."""

from __future__ import annotations

import struct

import pytest

from engine.wire.g711 import LAWS, Law

CODES = bytes(range(256))
SAMPLES = range(-32_768, 32_768)


def packed(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def unpacked(pcm: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


# Ends and middles of tables 1a to 2b of the recommendation, scaled to 16 bits.
@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        ("mulaw", 0x00, -32_124),
        ("mulaw", 0x80, 32_124),
        ("mulaw", 0xFF, 0),
        ("mulaw", 0xFE, 8),
        ("mulaw", 0x7E, -8),
        ("mulaw", 0xEF, 132),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32_256),
        ("alaw", 0x2A, -32_256),
        ("alaw", 0xC5, 264),
        ("alaw", 0xF5, 528),
    ],
)
def test_a_code_is_the_sample_of_the_recommendation(law: Law, code: int, sample: int) -> None:
    assert unpacked(LAWS[law].decode(bytes((code,)))) == (sample,)
    assert LAWS[law].encode(packed(sample)) == bytes((code,))


def test_every_code_comes_back() -> None:
    assert LAWS["alaw"].encode(LAWS["alaw"].decode(CODES)) == CODES
    # mu-law writes nought in two ways, of which one is given back.
    assert LAWS["mulaw"].encode(LAWS["mulaw"].decode(CODES)) == CODES.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize(("law", "largest"), [("mulaw", 32_124), ("alaw", 32_256)])
def test_a_sample_comes_back_within_half_a_step(law: Law, largest: int) -> None:
    back = unpacked(LAWS[law].decode(LAWS[law].encode(packed(*SAMPLES))))
    for sample, near in zip(SAMPLES, back, strict=True):
        size = min(abs(sample), largest)
        # A step is a sixteenth of its segment, which begins at half of the largest size that it holds.
        assert abs(abs(near) - size) <= max(8, (size + 132) / 32)
    assert list(back) == sorted(back)


@pytest.mark.parametrize("law", LAWS)
def test_half_a_sample_is_refused(law: Law) -> None:
    with pytest.raises(ValueError):
        LAWS[law].encode(b"\0\0\0")
