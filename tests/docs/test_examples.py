"""Every example is what the code would take or send."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from engine.api import EVENTS, Route
from engine.api.streams import parse_on_disconnect
from engine.http.typed import read_query
from engine.wire.control import FRAMES
from tests.docs import examples
from tests.docs.pages import DOCS, Block, blocks
from tests.docs.parts import place
from tests.docs.product import product

PROTOCOL = DOCS / "protocol.md"
CLIENT_FRAMES = blocks(PROTOCOL, "json client")
SERVER_FRAMES = blocks(PROTOCOL, "json server")
ROUTES = product().routes
STARTS = {command.name for command in product().commands if command.starts}
BODIES = {command.name: command.body for command in product().commands}


def client_frames() -> list[dict[str, Any]]:
    """Every frame that the protocol's page shows as a client's, in the order of the page."""
    return [json.loads(block.text) for block in CLIENT_FRAMES]


@pytest.mark.parametrize("frame", client_frames(), ids=lambda frame: frame.get("id", frame["type"]))
def test_a_client_could_send_it(frame: dict[str, Any]) -> None:
    name = frame.pop("type")
    frame.pop("id", None)
    if name in STARTS:
        frame.pop("key", None)
        parse_on_disconnect(frame.pop("on_disconnect", "continue"))
    BODIES[name].model_validate(frame)


def test_every_command_has_its_own_fields_shown_in_a_frame() -> None:
    assert {frame["type"] for frame in client_frames()} == set(BODIES)


@pytest.mark.parametrize("block", SERVER_FRAMES, ids=lambda block: json.loads(block.text)["type"])
def test_the_server_could_send_it(block: Block) -> None:
    frame = json.loads(block.text)
    kinds = {kind.__struct_config__.tag: kind for kind in (*EVENTS, *FRAMES)}
    numbered = kinds[frame["type"]] in EVENTS
    told = {name: value for name, value in frame.items() if not (numbered and name in ("stream", "n", "prev"))}
    kind = kinds[frame["type"]]
    assert json.loads(msgspec.json.encode(msgspec.convert(told, kind))) == told


def test_every_event_and_frame_has_an_example() -> None:
    assert {type(event) for _, event in examples.EVENTS} == set(EVENTS)
    assert {type(frame) for frame in examples.FRAMES} == set(FRAMES)


def test_every_address_has_an_example_and_no_other() -> None:
    assert sorted(examples.HTTP) == sorted(place(route) for route in ROUTES)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body is not None], ids=place)
def test_the_address_would_take_the_body(route: Route) -> None:
    assert route.body is not None
    exchange = examples.HTTP[place(route)]
    if route.upload is None:
        route.body.model_validate_json(json.dumps(exchange.body))
    else:
        assert exchange.form is not None and route.upload in exchange.form
        read_query(route.body, [(name, value) for name, value in exchange.form.items() if name != route.upload])


@pytest.mark.parametrize("route", [route for route in ROUTES if route.query is not None], ids=place)
def test_the_address_would_take_the_query(route: Route) -> None:
    assert route.query is not None
    query = examples.HTTP[place(route)].query.removeprefix("?")
    read_query(route.query, [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))])


@pytest.mark.parametrize("route", [route for route in ROUTES if route.returns is not None], ids=place)
def test_the_answer_has_the_shape_that_is_promised(route: Route) -> None:
    answer = examples.HTTP[place(route)].answer
    assert answer is not None
    msgspec.convert(answer, route.returns)
