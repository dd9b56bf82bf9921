"""The answer of a vendor that speaks OpenAI's API, read as one vector for each input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.api import Embedded, EmbeddingRequest, Usage
from plugins.vendors.failures import Vendor
from plugins.vendors.vectors import BadVectors, Lifted, same_length, vector, yielding

_MOST_TOKENS = 1 << 40


class _Document(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
    usage: Any = None
    model: Any = None


class _Row(msgspec.Struct):
    embedding: Any = None
    index: Any = None


def read_rows(body: bytes, request: EmbeddingRequest, vendor: Vendor) -> Embedded:
    """The vectors in the order of the inputs; raises the vendor's failure for what is not one vector for each input.

    Blocks for about 0.2 ms a vector, and gives other threads their turn after each.
    """
    try:
        return _read(body, request, vendor)
    except BadVectors as error:
        raise vendor.broke_protocol(str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = "a vector holds a number that is not finite" if b"NaN" in body else "its answer is not one of embeddings"
        raise vendor.broke_protocol(said) from None


def _read(body: bytes, request: EmbeddingRequest, vendor: Vendor) -> Embedded:
    count = len(request.inputs)
    lifted = Lifted(body, most=4 * count + 1_000)
    document = msgspec.json.decode(lifted.document, type=_Document)
    if bytes(document.data) == b"null":
        if vendor.read_fault(lifted.document).message:
            raise vendor.failure(lifted.document)
        raise BadVectors("its answer has no data")
    raws = msgspec.json.decode(document.data, type=list[msgspec.Raw])
    if len(raws) != count:
        raise BadVectors(f"it gave {len(raws)} vectors for {count} inputs")
    rows = [msgspec.json.decode(raw, type=_Row) for raw in yielding(raws)]
    ordered = _in_order(rows)
    vectors = [vector(row.embedding, lifted) for row in yielding(ordered)]
    same_length(vectors, request.dimensions)
    model = document.model if isinstance(document.model, str) else None
    return Embedded(vectors=vectors, usage=_usage(document.usage), model=model)


def _in_order(rows: Sequence[_Row]) -> Sequence[_Row]:
    """The rows by their index; in the order given where no row has one, or all have the same."""
    given = [_number(row.index) for row in rows]
    if len(set(given)) <= 1:
        return rows
    if sorted(-1 if each is None else each for each in given) != list(range(len(rows))):
        raise BadVectors("the indexes of its vectors are not those of the inputs")
    by_index: list[_Row] = list(rows)
    for row, index in zip(rows, given, strict=True):
        by_index[index or 0] = row
    return by_index


def _number(index: Any) -> int | None:
    """An index as a number, also where it is written as a text or with a fraction of zero."""
    if isinstance(index, str) and index.isdecimal() and len(index) < 8:
        return int(index)
    if isinstance(index, int | float) and not isinstance(index, bool) and index == int(index):
        return int(index)
    return None


def _usage(told: Any) -> Usage | None:
    """What the vendor counted, None where it did not: the engine then estimates."""
    tokens = told.get("prompt_tokens") if isinstance(told, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 0 <= tokens <= _MOST_TOKENS:
        return None
    return Usage(input_tokens=round(tokens))
