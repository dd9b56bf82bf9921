"""Vectors out of a vendor's JSON and into ours, in steps so short that other threads run between them."""

from __future__ import annotations

import base64
import binascii
import math
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

LONGEST_VECTOR = 16_384
"""Numbers in one vector. The longest of a known model has 8,192."""

_SHORTEST_LIFTED = 64
_FLOAT = 4

T = TypeVar("T")


class BadVectors(Exception):
    """What a vendor gave is not a vector for each input; the message completes "it broke its protocol: "."""


def yielding(items: Iterator[T] | Sequence[T]) -> Iterator[T]:
    """The items, with a turn for other threads after each: the event loop waits for the work of one item and not of all."""
    for item in items:
        yield item
        # Python gives the lock away only every 5 ms, and only on demand.
        time.sleep(0)


class Lifted:
    """A JSON document without its long lists of numbers, and those lists.

    One call of a decoder holds the interpreter's lock until it is over: 0.2 s for 100 MB of numbers, and a fraction of a
    millisecond for one vector. In `document` each list is replaced by a text, which `numbers` takes.
    """

    def __init__(self, body: bytes, most: int) -> None:
        self._lists: list[bytes] = []
        self.document = self._lift(body, most)

    def numbers(self, value: Any) -> bytes | None:
        """The JSON of the list that `value` stands for, None for any other value."""
        if isinstance(value, str) and value.startswith("@") and value[1:].isdecimal():
            at = int(value[1:])
            return self._lists[at] if at < len(self._lists) else None
        return None

    def _lift(self, body: bytes, most: int) -> bytes:
        kept: list[bytes] = []
        at, brackets, seek = 0, 0, 0
        while (begin := body.find(b"[", seek)) >= 0:
            brackets += 1
            if brackets > most:
                raise BadVectors("its answer has more lists than there are inputs")
            seek = begin + 1
            end = body.find(b"]", begin) + 1
            # After a quote it would be a text that looks like a list.
            is_list = body[max(0, begin - 32) : begin].rstrip()[-1:] in (b":", b"[", b",")
            flat = body.find(b"[", seek, end) < 0 and body.find(b'"', seek, end) < 0
            if is_list and flat and end - begin > _SHORTEST_LIFTED:
                kept += (body[at:begin], b'"@%d"' % len(self._lists))
                self._lists.append(body[begin:end])
                at = seek = end
                time.sleep(0)
        return b"".join((*kept, body[at:])) if kept else body


def vector(value: Any, lifted: Lifted) -> array[float]:
    """The numbers of one vector: a list, or 32-bit floats in base64."""
    numbers = lifted.numbers(value)
    if numbers is not None:
        made = _listed(_decoded(numbers))
    elif isinstance(value, str):
        made = _from_base64(value)
    else:
        made = _listed(value)
    if not made:
        raise BadVectors("a vector is empty")
    if len(made) > LONGEST_VECTOR:
        raise BadVectors(f"a vector has {len(made)} numbers; the longest that is taken has {LONGEST_VECTOR}")
    _require_finite(made)
    return made


def _decoded(numbers: bytes) -> Any:
    try:
        return msgspec.json.decode(numbers)
    except msgspec.DecodeError:
        raise BadVectors(_reason(numbers)) from None


def _reason(numbers: bytes) -> str:
    if b"NaN" in numbers or b"nan" in numbers or b"Inf" in numbers:
        return "a vector holds a number that is not finite"
    return "its answer is not valid JSON"


def _listed(value: Any) -> array[float]:
    if not isinstance(value, list):
        raise BadVectors(f"a vector is {_kind(value)} and not a list of numbers")
    try:
        # An array takes booleans for numbers.
        if bool in map(type, value):
            raise TypeError
        return array("d", value)
    except (TypeError, OverflowError):
        raise BadVectors(f"a vector holds {_odd(value)}") from None


def _odd(value: list[Any]) -> str:
    odd = next((each for each in value if isinstance(each, bool) or not isinstance(each, int | float)), 0)
    if isinstance(odd, list) or (isinstance(odd, str) and odd.startswith("@")):
        return "vectors: one for each token and not one for the input (the model's pooling is off)"
    return f"{_kind(odd)} where a number is due"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in ((dict, "an object"), (list, "a list"), (str, "a text")):
        if isinstance(value, kind):
            return name
    return "a number"


def _from_base64(text: str) -> array[float]:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadVectors("a vector is a text that is not base64") from None
    if len(data) % _FLOAT:
        raise BadVectors(f"a vector in base64 has {len(data)} bytes, which are no 32-bit floats")
    return _swapped(array("f", data))


def _require_finite(numbers: array[float]) -> None:
    """Raise `BadVectors` for NaN and infinity, which JSON has no words for."""
    # A sum is fast, and finite where each number is; that of great numbers may not be.
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        raise BadVectors("a vector holds a number that is not finite")


def in_base64(numbers: Sequence[float]) -> bytes:
    """32-bit floats, little-endian, in base64; a number beyond them is infinite there."""
    return base64.b64encode(_swapped(array("f", numbers)).tobytes())


def as_list(numbers: Sequence[float]) -> bytes:
    """A JSON list."""
    return msgspec.json.encode(numbers.tolist() if isinstance(numbers, array) else list(numbers))


def _swapped(floats: array[float]) -> array[float]:
    if array("H", [1]).tobytes() != b"\x01\x00":  # the wire is little-endian, whatever this machine is
        floats.byteswap()
    return floats


def same_length(vectors: Sequence[Sequence[float]], dimensions: int | None) -> None:
    """Raise `BadVectors` unless all vectors have one length, and `dimensions` numbers where so many were asked for."""
    lengths = sorted({len(each) for each in vectors})
    if len(lengths) > 1:
        raise BadVectors(f"its vectors have different lengths ({', '.join(map(str, lengths[:4]))} numbers)")
    if dimensions is not None and lengths and lengths[0] != dimensions:
        raise BadVectors(f"its vectors have {lengths[0]} numbers, and {dimensions} dimensions were asked for")
