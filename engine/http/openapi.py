"""The OpenAPI 3.1 document, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from engine.api import errors as api_errors
from engine.api.errors import EngineError
from engine.api.routes import Route
from engine.http.problem import CONTENT_TYPE, Problem, problem_type, title
from engine.http.schemas import Json, Mode, Schemas, prune

_PARAMETER = re.compile(r"\{(\w+)\}")
_UPGRADED = "101"
_NO_CONTENT = (204, 205, 304)
_PROBLEMS = {
    400: ("InvalidRequest", "A part of the request is missing, unknown, of the wrong type or out of range."),
    401: ("Unauthenticated", "The credential is missing, unknown or revoked."),
    403: ("Forbidden", "The caller may not do this."),
    404: ("NotFound", "There is nothing under this address or id, or its plugin is off."),
    413: ("TooLarge", "The body is longer than the server takes."),
    415: ("UnsupportedMedia", "The body is of a type that is not taken here."),
    429: ("LimitExceeded", "A limit is reached; Retry-After says when to come back."),
    500: ("Internal", "The server failed in a way that it did not foresee."),
    426: ("UpgradeRequired", "The address is a WebSocket; ask for it with `Upgrade: websocket`."),
    503: ("Unavailable", "The server, or what it needs, is busy or going down."),
}


def openapi(routes: Iterable[Route], *, version: str, server_features: Sequence[str] = ()) -> Json:
    """The document for the routes that are on; the same routes give the same document, whatever their order."""
    ordered = sorted(routes, key=lambda route: (route.path, route.method))
    schemas = Schemas([(Problem, "serialization"), *_types(ordered)])
    paths: dict[str, Json] = {}
    for route in ordered:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "BetterAI engine", "version": version, "x-features": sorted(server_features)},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({route.tag for route in ordered if route.tag})],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {name: _problem(text) for name, text in _PROBLEMS.values()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": 'An API key. With auth.mode = "local" none is needed and any is ignored.',
                }
            },
        },
        "x-errors": error_codes(),
    }
    prune(document)
    return document


def error_codes() -> list[Json]:
    """Every error code with its HTTP status and the condition under which it is raised, for the docs."""
    kinds = [kind for kind in vars(api_errors).values() if isinstance(kind, type) and issubclass(kind, EngineError)]
    own = [kind for kind in kinds if kind is not EngineError]
    return [
        {
            "code": kind.code,
            "status": kind.status,
            "title": title(kind.code),
            "type": problem_type(kind.code),
            "retryable": kind.retryable,
            "description": (kind.__doc__ or "").strip(),
        }
        for kind in own
    ]


def operation_id(route: Route) -> str:
    """A name for generated clients that stays as long as method and address do: `get_api_v1_streams_by_id`."""
    words = [
        f"by_{segment[1:-1]}" if segment.startswith("{") else segment for segment in route.path.split("/") if segment
    ]
    return re.sub(r"\W+", "_", "_".join([route.method.lower(), *words]))


def _types(routes: Sequence[Route]) -> Iterable[tuple[Any, Mode]]:
    for route in routes:
        if route.body is not None:
            yield route.body, "validation"
        if route.query is not None:
            yield route.query, "validation"
        if route.returns is not None:
            yield route.returns, "serialization"


def _operation(route: Route, schemas: Schemas) -> Json:
    operation: Json = {"operationId": operation_id(route), "summary": route.summary or title(operation_id(route))}
    if route.tag:
        operation["tags"] = [route.tag]
    parameters = [*_path_parameters(route), *_query_parameters(route, schemas)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": _content(route, schemas),
        }
    operation["responses"] = _responses(route, schemas)
    operation["security"] = [] if route.scope is None else [{"bearer": [route.scope]}]
    return operation


def _content(route: Route, schemas: Schemas) -> Json:
    assert route.body is not None
    if route.upload is None:
        return {"application/json": {"schema": schemas.schema(route.body, "validation")}}
    form = schemas.inline(route.body, "validation")
    file = {"type": "string", "format": "binary", "description": "The file."}
    form["properties"] = {route.upload: file, **form.get("properties", {})}
    form["required"] = [route.upload, *form.get("required", [])]
    return {"multipart/form-data": {"schema": form}}


def _path_parameters(route: Route) -> Iterable[Json]:
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(route: Route, schemas: Schemas) -> Iterable[Json]:
    if route.query is None:
        return
    model = schemas.inline(route.query, "validation")
    required = model.get("required", [])
    for name, schema in model.get("properties", {}).items():
        shape = _without_null(schema)
        parameter: Json = {"name": name, "in": "query", "required": name in required, "schema": shape}
        if description := shape.pop("description", None):
            parameter["description"] = description
        yield parameter


def _without_null(schema: Json) -> Json:
    """The schema without null, which an address cannot carry."""
    branches = [branch for branch in schema.get("anyOf", []) if branch != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    if len(branches) == 1:
        return {**branches[0], **rest}
    return {"anyOf": branches, **rest} if branches else rest


def _responses(route: Route, schemas: Schemas) -> Json:
    responses: Json = {_UPGRADED if route.socket else str(route.status): _success(route, schemas)}
    for status in _possible(route):
        name, text = _PROBLEMS[status]
        responses[str(status)] = _error(route, text, {"$ref": f"#/components/responses/{name}"})
    for status, text in sorted(route.statuses.items()):
        responses[str(status)] = _error(route, text, _problem(text)) if status >= 400 else {"description": text}
    return responses


def _success(route: Route, schemas: Schemas) -> Json:
    response: Json = {"description": route.summary or "The answer."}
    if route.socket:
        return {**response, "headers": {"Upgrade": {"schema": {"type": "string", "const": "websocket"}}}}
    if route.status in _NO_CONTENT:
        return response
    content: Json = {}
    if route.returns is not None:
        content["application/json"] = {"schema": schemas.schema(route.returns)}
    if route.events:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    for media in route.media:
        content[media] = {"schema": {} if media.startswith("text/") else {"type": "string", "format": "binary"}}
    return {**response, "content": content} if content else response


def _possible(route: Route) -> Iterable[int]:
    """The errors that the engine itself may answer for a route."""
    if route.body is not None or route.query is not None or "{" in route.path:
        yield 400
    if route.scope is not None:
        yield 401
    yield 403
    if "{" in route.path or route.scope is not None:
        # Not only an id may be unknown: a route vanishes with its plugin.
        yield 404
    if route.body is not None:
        yield from (413, 415)
    if route.scope is not None:
        yield 429
    if route.socket:
        yield 426
    yield 500
    if route.scope is not None:
        yield 503


def _error(route: Route, text: str, problem: Json) -> Json:
    """An error in the route's own dialect, or as the problem that is given."""
    return problem if route.errors is None else {"description": text, "content": {"application/json": {}}}


def _problem(text: str) -> Json:
    return {"description": text, "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
