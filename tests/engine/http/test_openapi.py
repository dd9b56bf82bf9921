"""The OpenAPI document that is made from the routes."""

from __future__ import annotations

from typing import Any, Literal

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from pydantic import BaseModel, ConfigDict, Field
from schemathesis.core.result import Ok

from engine.api.errors import EngineError
from engine.api.routes import Answer, HttpRequest, Route
from engine.http.openapi import error_codes, openapi, operation_id


class Part(BaseModel):
    text: str


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: str | list[Part]
    model: str | None = Field(None, description="Which model answers.")


class Page(BaseModel):
    limit: int = Field(20, ge=1, le=100, description="How many, at most.")
    after: str | None = None
    tag: list[str] = []
    order: Literal["new", "old"]


class Saved(BaseModel):
    id: str


class Item(msgspec.Struct):
    id: str


class Items(msgspec.Struct):
    items: list[Item]


async def nothing(request: HttpRequest[Any, Any]) -> Answer:
    return Answer()


def dialect(error: EngineError, request_id: str) -> Answer:
    return Answer({"error": error.message}, error.status)


ROUTES = [
    Route(method="GET", path="/health/live", handler=nothing, scope=None, summary="Is it alive?", tag="health"),
    Route(
        method="POST",
        path="/api/v1/chat",
        handler=nothing,
        body=Ask,
        returns=Saved,
        events=True,
        tag="chat",
        statuses={409: "Another turn of the conversation runs."},
    ),
    Route(method="GET", path="/api/v1/items", handler=nothing, query=Page, returns=Items, tag="items"),
    Route(method="GET", path="/api/v1/items/{id}", handler=nothing, returns=Item, tag="items"),
    Route(method="DELETE", path="/api/v1/items/{id}", handler=nothing, status=204, tag="items"),
    Route(method="PUT", path="/api/v1/items/{id}", handler=nothing, body=Ask, body_optional=True, returns=list[Item]),
    Route(method="POST", path="/v1/chat", handler=nothing, body=Ask, returns=dict[str, Any], errors=dialect),
]
DOCUMENT = openapi(ROUTES, version="1.2.3", server_features=["tts", "chat"])


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def test_schemathesis_loads_it_and_finds_every_operation() -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)

    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    found = {(each.method.upper(), each.path) for each in operations}
    assert found == {(route.method, route.path) for route in ROUTES}


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()

    for name in DOCUMENT["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text
    for part in text.split('"$ref":"#/')[1:]:
        value: Any = DOCUMENT
        for step in part.partition('"')[0].split("/"):
            value = value[step]


def test_every_schema_is_a_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_the_body_is_described_by_its_model() -> None:
    body = operation("post", "/api/v1/chat")["requestBody"]

    assert body == {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}}}
    assert DOCUMENT["components"]["schemas"]["Ask"]["additionalProperties"] is False
    assert operation("put", "/api/v1/items/{id}")["requestBody"]["required"] is False


def test_an_answer_may_be_a_model_a_struct_or_plain_data() -> None:
    def answered(method: str, path: str) -> Any:
        return operation(method, path)["responses"]["200"]["content"]["application/json"]["schema"]

    assert answered("post", "/api/v1/chat") == {"$ref": "#/components/schemas/Saved"}
    assert answered("get", "/api/v1/items") == {"$ref": "#/components/schemas/Items"}
    assert answered("put", "/api/v1/items/{id}") == {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}
    assert answered("post", "/v1/chat")["type"] == "object"


def test_events_are_a_second_form_of_the_answer() -> None:
    content = operation("post", "/api/v1/chat")["responses"]["200"]["content"]

    assert set(content) == {"application/json", "text/event-stream"}


def test_an_answer_without_content_has_none() -> None:
    assert "content" not in operation("delete", "/api/v1/items/{id}")["responses"]["204"]


def test_parameters_come_from_the_address_and_the_query_model() -> None:
    assert operation("get", "/api/v1/items/{id}")["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    limit, after, tag, order = operation("get", "/api/v1/items")["parameters"]
    assert (limit["in"], limit["required"], limit["description"]) == ("query", False, "How many, at most.")
    assert limit["schema"]["maximum"] == 100
    assert after["schema"]["type"] == "string"
    assert tag["schema"]["type"] == "array"
    assert order["required"] is True


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/health/live", {"403", "500"}),
        ("get", "/api/v1/items/{id}", {"400", "401", "403", "404", "429", "500", "503"}),
        ("post", "/api/v1/chat", {"400", "401", "403", "404", "409", "413", "415", "429", "500", "503"}),
    ],
)
def test_only_errors_that_can_occur_are_listed(method: str, path: str, statuses: set[str]) -> None:
    assert set(operation(method, path)["responses"]) - {"200"} == statuses


def test_errors_are_problems_unless_the_route_has_a_form_of_its_own() -> None:
    conflict = operation("post", "/api/v1/chat")["responses"]["409"]
    assert conflict["description"] == "Another turn of the conversation runs."
    assert list(conflict["content"]) == ["application/problem+json"]
    assert list(operation("post", "/v1/chat")["responses"]["400"]["content"]) == ["application/json"]


def test_a_route_for_anybody_needs_no_key() -> None:
    assert operation("get", "/health/live")["security"] == []
    assert operation("post", "/api/v1/chat")["security"] == [{"bearer": ["chat"]}]


def test_the_document_is_the_same_whatever_the_order_of_the_routes() -> None:
    assert openapi(reversed(ROUTES), version="1.2.3", server_features=["chat", "tts"]) == DOCUMENT


def test_operation_ids_are_unique_and_say_where_they_belong() -> None:
    ids = [operation_id(route) for route in ROUTES]

    assert len(ids) == len(set(ids))
    assert operation_id(ROUTES[3]) == "get_api_v1_items_by_id"


def test_a_model_and_a_struct_of_one_name_stay_apart() -> None:
    class Usage(BaseModel):
        tokens: int

    routes = [
        Route(method="GET", path="/a", handler=nothing, returns=Usage),
        Route(method="GET", path="/b", handler=nothing, returns=msgspec.defstruct("Usage", [("cost", str)])),
    ]
    schemas = openapi(routes, version="1")["components"]["schemas"]

    assert list(schemas["Usage"]["properties"]) == ["tokens"]
    assert list(schemas["UsageStruct"]["properties"]) == ["cost"]


def test_every_error_code_is_explained() -> None:
    codes = {each["code"]: each for each in error_codes()}

    assert codes["conflict"]["status"] == 409
    assert codes["conflict"]["retryable"] is True
    assert all(each["description"] for each in codes.values())
    assert DOCUMENT["x-errors"] == error_codes()
