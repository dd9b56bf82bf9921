"""Vectors in the answers of vendors: what is odd and harmless is taken, what is not a vector for each input is named."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from engine.api import EmbeddingRequest, EngineError, ProviderError, ProviderUnavailable
from plugins.vendors.embedding_rows import read_rows
from plugins.vendors.failures import Vendor
from plugins.vendors.vectors import Lifted, as_list, in_base64

LAB = Vendor("Lab")
LONG = [round(0.1 * at, 3) for at in range(40)]


def in_bytes(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def row(embedding: Any, **fields: Any) -> dict[str, Any]:
    return {"object": "embedding", "embedding": embedding, **fields}


def read(document: Any, inputs: int = 1, dimensions: int | None = None) -> list[list[float]]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request = EmbeddingRequest(model="m", inputs=("x",) * inputs, dimensions=dimensions)
    return [list(each) for each in read_rows(body, request, LAB).vectors]


@pytest.mark.parametrize("vector", [[0.5, 0.25], [1, 0], LONG, [-1e-7] * 40])
def test_numbers_stay_as_the_vendor_wrote_them(vector: list[float]) -> None:
    assert read({"data": [row(vector, index=0)]}) == [vector]


def test_base64_is_read_whether_or_not_it_was_asked_for() -> None:
    assert read({"data": [row(in_bytes(0.5, 0.25)), row([1, 2])]}, inputs=2) == [[0.5, 0.25], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("indexes", "order"),
    [
        ((1, 0), [1, 0]),
        (("1", "0"), [1, 0]),
        ((1.0, 0.0), [1, 0]),
        ((None, None), [0, 1]),
        ((0, 0), [0, 1]),
        ((7, 7), [0, 1]),
    ],
)
def test_rows_stand_in_the_order_of_their_indexes_or_as_given_without(
    indexes: tuple[Any, Any], order: list[int]
) -> None:
    vectors = [[1.0], [2.0]]
    rows = [row(vector, index=index) for vector, index in zip(vectors, indexes, strict=True)]
    assert read({"data": rows}, inputs=2) == [vectors[at] for at in order]


def test_rows_without_the_field_index_stand_as_given() -> None:
    assert read({"data": [row(LONG), row(LONG[::-1])]}, inputs=2) == [LONG, LONG[::-1]]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row([1.0], index=0)], "1 vectors for 2 inputs"),
        ([row([1.0])] * 3, "3 vectors for 2 inputs"),
        ([row([1.0], index=0), row([1.0], index=2)], "indexes"),
        ([row([1.0], index=0), row([1.0])], "indexes"),
        ([row([1.0], index=-1), row([1.0], index=0)], "indexes"),
        ([row([1.0]), row([1.0, 2.0])], "different lengths"),
        ([row([1.0]), row([])], "empty"),
        ([row([1.0]), row("")], "empty"),
        ([row([1.0]), row([None])], "null where a number is due"),
        ([row(LONG), row([*LONG, None])], "null where a number is due"),
        ([row([1.0]), row(["0.5"])], "a text where a number is due"),
        ([row([1.0]), row([True])], "a boolean where a number is due"),
        ([row([1.0]), row([[1.0, 2.0]])], "one for each token"),
        ([row([1.0]), row([LONG, LONG])], "one for each token"),
        ([row([1.0]), row("not base64!")], "not base64"),
        ([row([1.0]), row(base64.b64encode(b"12345").decode())], "5 bytes"),
        ([row([1.0]), row(in_bytes(float("nan")))], "not finite"),
        ([row([1.0]), row(in_bytes(float("inf")))], "not finite"),
        ([row([1.0]), row([float("nan")])], "not finite"),
        ([row(LONG), row([*LONG, float("nan")])], "not finite"),
        ([row([1.0]), row(None)], "null and not a list"),
        ([row([1.0]), row({"dense": [1.0]})], "an object and not a list"),
        ([row([1.0]), row("@0")], "not base64"),
        ([row([1.0]), row([10**400])], ""),
        ([row([1.0]), row([0.0] * 16_385)], "16385 numbers"),
        ([[1.0], [2.0]], "not one of embeddings"),
        (LONG[:2], "not one of embeddings"),
        ("rows", "not one of embeddings"),
    ],
)
def test_what_is_no_vector_for_each_input_is_named(rows: Any, reason: str) -> None:
    with pytest.raises(ProviderError, match=f"Lab broke its protocol: .*{reason}"):
        read({"data": rows}, inputs=2)


@pytest.mark.parametrize("document", [b"", b"null", b"[]", b"{}", b'{"data": [', b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_no_document_of_embeddings_is_the_vendors_failure(document: bytes) -> None:
    with pytest.raises(ProviderError, match="Lab broke its protocol"):
        read(document)


def test_vectors_of_another_length_than_asked_for_are_refused() -> None:
    with pytest.raises(ProviderError, match="have 2 numbers, and 3 dimensions were asked for"):
        read({"data": [row([1.0, 2.0])]}, dimensions=3)


def test_an_error_with_the_status_of_success_is_the_vendors_error() -> None:
    with pytest.raises(EngineError, match="CUDA out of memory"):
        read({"error": {"message": "CUDA out of memory", "code": 500}})
    with pytest.raises(ProviderUnavailable):
        read({"error": {"message": "CUDA out of memory", "type": "server_error"}})


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7}, 7),
        ({"prompt_tokens": 7.0}, 7),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 2**63}, None),
        ({"prompt_tokens": "7"}, None),
        (None, None),
        ("none", None),
    ],
)
def test_a_count_that_cannot_be_is_left_to_the_estimate(usage: Any, tokens: int | None) -> None:
    document = json.dumps({"data": [row([1.0])], "usage": usage}).encode()
    made = read_rows(document, EmbeddingRequest(model="m", inputs=("x",)), LAB)
    assert (made.usage.input_tokens if made.usage else None) == tokens


def test_lists_inside_of_texts_are_no_lists() -> None:
    told = {"data": [row([1.0])], "model": f"[{'1, ' * 40}1]", "note": 'a "[" in a text'}
    assert read(told) == [[1.0]]


def test_a_document_is_lifted_of_its_long_lists_alone() -> None:
    lifted = Lifted(json.dumps({"short": [1], "long": LONG}).encode(), most=10)
    assert json.loads(lifted.document) == {"short": [1], "long": "@0"}
    assert json.loads(lifted.numbers("@0") or b"") == LONG
    assert lifted.numbers("@1") is None


def test_vectors_are_written_as_numbers_and_as_floats_of_32_bits() -> None:
    assert json.loads(as_list([0.1, 2.0])) == [0.1, 2.0]
    assert in_base64([0.5, 0.25]).decode() == in_bytes(0.5, 0.25)
    assert in_base64([1e39]).decode() == in_bytes(float("inf"))
