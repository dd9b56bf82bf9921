"""From the parts of a request to the typed request of its route, or one error that says what is wrong."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from engine.api.errors import InvalidRequest, UnsupportedMedia
from engine.api.identity import Principal
from engine.api.routes import HttpRequest, Route, Upload
from engine.wire.extent import check_extent
from engine.wire.halves import whole_characters
from engine.wire.validation import dotted, explain

Pairs = Iterable[tuple[str, str]]

_PIECE = 64 << 10


def typed_request(
    route: Route,
    *,
    principal: Principal,
    request_id: str,
    path: Mapping[str, str],
    query: Pairs,
    headers: Mapping[str, str],
    body: bytes,
    form: tuple[Pairs, Upload] | None = None,
    granted: Mapping[str, Any] | None = None,
) -> HttpRequest[Any, Any]:
    """The request as the route's models describe it.

    `query` are decoded pairs in the order sent; `headers` are those of `lower_headers`. A route without a model for its
    query or body gets None, and takes anything there. Raises `InvalidRequest` or `UnsupportedMedia`.
    """
    fields, upload = form if form is not None else ((), None)
    read: BaseModel | None
    if form is not None and route.body is not None:
        read = read_query(route.body, fields, "form")
    else:
        read, body = _body(route, headers, body)
    return HttpRequest(
        principal=principal,
        body=read,
        query=None if route.query is None else read_query(route.query, query),
        path=path,
        headers=headers,
        id=request_id,
        raw=body,
        upload=upload,
        granted=granted,
    )


def lower_headers(headers: Pairs) -> dict[str, str]:
    """Headers by lower-case name; those that were sent several times are joined by a comma (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def read_query(model: type[BaseModel], pairs: Pairs, what: str = "query") -> BaseModel:
    """The query as `model` describes it; a field that is a list takes each of its values, any other one stands once."""
    lists = _list_fields(model)
    # What nobody knows may stand any number of times where it is taken: it is not read.
    once = _spellings(model) if model.model_config.get("extra") == "allow" else None
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in lists:
            several.setdefault(name, []).append(value)
        elif name in single and (once is None or name in once):
            raise InvalidRequest(
                f"{dotted((name,))} stands in the {what} more than once; give it one value", field=dotted((name,))
            )
        else:
            single[name] = value
    try:
        return model.model_validate({**single, **several})
    except ValidationError as error:
        raise explain(error, model, what=what) from None


def read_json(model: type[BaseModel], body: bytes, content_type: str) -> BaseModel:
    """A JSON body as `model` describes it."""
    _require_json(content_type)
    check_extent(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        _require_utf8(body)
        raise explain(error, model) from None


def _body(route: Route, headers: Mapping[str, str], body: bytes) -> tuple[BaseModel | None, bytes]:
    """The body as its route describes it, and its bytes with whole characters."""
    if route.body is None or (route.body_optional and not body):
        return None, body
    if body:
        content_type = headers.get("content-type", "")
        try:
            return read_json(route.body, body, content_type), body
        except InvalidRequest:
            whole = whole_characters(body)
            if whole == body:
                raise
            return read_json(route.body, whole, content_type), whole
    raise InvalidRequest("the body is empty; send a JSON object with Content-Type: application/json")


def _require_json(content_type: str) -> None:
    """A web page can send a plain form anywhere unasked; JSON it cannot. So the type must be said."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMedia(f"the body is {_said(media_type)}; send JSON with Content-Type: application/json")
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().lower().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMedia(f"the body is in {value[:40]}; send JSON in UTF-8")


def _said(media_type: str) -> str:
    return f"of type {media_type[:80]}" if media_type else "of no type"


def _require_utf8(body: bytes) -> None:
    decoder = getincrementaldecoder("utf-8")()
    for at in range(0, len(body), _PIECE):
        waiting = len(decoder.getstate()[0])
        try:
            decoder.decode(body[at : at + _PIECE], final=at + _PIECE >= len(body))
        except UnicodeDecodeError as error:
            place = at - waiting + error.start
            raise InvalidRequest(f"the body is not valid UTF-8 at byte {place}; send JSON in UTF-8") from None


@cache
def _list_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a query that may stand several times, as they are spelt there."""
    return frozenset(_spelling(name, info) for name, info in model.model_fields.items() if _is_list(info.annotation))


@cache
def _spellings(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(_spelling(name, info) for name, info in model.model_fields.items())


def _spelling(name: str, info: FieldInfo) -> str:
    alias = info.validation_alias
    return alias if isinstance(alias, str) else name


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    if origin in (Union, UnionType):
        return any(_is_list(each) for each in get_args(annotation) if each is not NoneType)
    if origin is Annotated:
        return _is_list(get_args(annotation)[0])
    return isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset)
