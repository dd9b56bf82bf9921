"""The OpenAPI document and the validation agree: what the one promises, the other takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from schemathesis.core.result import Ok

from engine.api.errors import InvalidRequest
from engine.api.identity import LOCAL
from engine.api.routes import HttpRequest
from engine.http.table import RouteTable
from engine.http.typed import typed_request
from tests.engine.http.test_openapi import DOCUMENT, ROUTES

TABLE = RouteTable([("test", route) for route in ROUTES])
OPERATIONS = [
    each.ok() for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations() if isinstance(each, Ok)
]


def pairs(query: dict[str, Any]) -> list[tuple[str, str]]:
    """A query as it comes over the wire: lists as repeated keys, everything as text."""
    several = [(name, value if isinstance(value, list) else [value]) for name, value in query.items()]
    return [(name, str(each)) for name, values in several for each in values]


def take(case: Any) -> HttpRequest[Any, Any]:
    match = TABLE.resolve(case.method, case.formatted_path)
    empty = isinstance(case.body, NotSet)
    return typed_request(
        match.route,
        principal=LOCAL,
        request_id="r",
        path=match.path,
        query=pairs(case.query),
        headers={} if empty else {"content-type": case.media_type},
        body=b"" if empty else json.dumps(case.body).encode(),
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_the_document_allows_is_taken(operation: Any) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def taken(case: Any) -> None:
        request = take(case)
        assert request.body is not None or isinstance(case.body, NotSet)

    taken()


@given(st.integers().filter(lambda limit: not 1 <= limit <= 100))
def test_a_limit_that_the_document_forbids_is_refused(limit: int) -> None:
    route = TABLE.resolve("GET", "/api/v1/items").route

    with pytest.raises(InvalidRequest, match=r"limit must be (1 or more|100 or less)"):
        typed_request(
            route,
            principal=LOCAL,
            request_id="r",
            path={},
            query=[("limit", str(limit)), ("order", "new")],
            headers={},
            body=b"",
        )
