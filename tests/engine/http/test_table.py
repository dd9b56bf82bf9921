"""Finding the route of a method and an address."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.api.errors import EngineError, FeatureDisabled, InvalidRequest, MethodNotAllowed, NotFound
from engine.api.routes import Answer, HttpRequest, Route
from engine.http.table import RouteClash, RouteTable, WrongMethod


async def nothing(request: HttpRequest[Any, Any]) -> Answer:
    return Answer()


def route(method: str, path: str) -> Route:
    return Route(method=method, path=path, handler=nothing)


STREAMS = route("GET", "/api/v1/streams")
STREAM = route("GET", "/api/v1/streams/{id}")
EVENTS = route("GET", "/api/v1/streams/{id}/events")
CANCEL = route("DELETE", "/api/v1/streams/{stream}")
RECENT = route("GET", "/api/v1/streams/recent")
CHAT = route("POST", "/api/v1/chat")
TABLE = RouteTable(
    [("engine", each) for each in (STREAMS, STREAM, EVENTS, CANCEL, RECENT)] + [("chat", CHAT)],
    {"/api/v1/tts": "the plugin 'tts', which is off", "/v1/audio/": "the plugin 'audio', which is off"},
)


def test_a_static_address_is_found_with_its_owner() -> None:
    match = TABLE.resolve("POST", "/api/v1/chat")

    assert (match.owner, match.route, match.path) == ("chat", CHAT, {})


def test_parameters_are_taken_from_their_segments() -> None:
    assert TABLE.resolve("GET", "/api/v1/streams/s_1/events").path == {"id": "s_1"}


def test_each_route_of_an_address_keeps_its_own_parameter_names() -> None:
    assert TABLE.resolve("GET", "/api/v1/streams/s_1").path == {"id": "s_1"}
    assert TABLE.resolve("DELETE", "/api/v1/streams/s_1").path == {"stream": "s_1"}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("a%2Fb", "a/b"), ("%C3%A9t%C3%A9", "été"), ("100%25", "100%"), ("a+b", "a+b"), ("%zz", "%zz"), ("..", "..")],
)
def test_parameters_are_percent_decoded_once(sent: str, meant: str) -> None:
    assert TABLE.resolve("GET", f"/api/v1/streams/{sent}").path == {"id": meant}


def test_static_segments_are_percent_decoded_too() -> None:
    assert TABLE.resolve("POST", "/api/v1/ch%61t").route is CHAT


def test_an_address_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        TABLE.resolve("GET", "/api/v1/streams/%FF")


def test_a_static_segment_wins_over_a_parameter() -> None:
    assert TABLE.resolve("GET", "/api/v1/streams/recent").route is RECENT


def test_a_static_segment_that_leads_nowhere_gives_way_to_a_parameter() -> None:
    match = TABLE.resolve("GET", "/api/v1/streams/recent/events")

    assert (match.route, match.path) == (EVENTS, {"id": "recent"})


def test_an_empty_segment_is_no_parameter() -> None:
    with pytest.raises(NotFound):
        TABLE.resolve("GET", "/api/v1/streams//events")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("/api/v1/strems", "/api/v1/streams"),
        ("/api/v1/chat/", "/api/v1/chat"),
        ("/api/v1/streams/s_1/event", "/api/v1/streams/{id}/events"),
    ],
)
def test_an_unknown_address_names_the_nearest(sent: str, meant: str) -> None:
    with pytest.raises(NotFound) as caught:
        TABLE.resolve("GET", sent)

    assert caught.value.message == f"there is nothing at {sent}; did you mean {meant}?"


def test_an_address_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(NotFound) as caught:
        TABLE.resolve("GET", "/wp-login.php")

    assert caught.value.message == "there is nothing at /wp-login.php"


def test_an_address_that_others_begin_with_names_them() -> None:
    async def answer(request: HttpRequest[Any, Any]) -> Answer:
        raise NotImplementedError

    table = RouteTable(
        [("engine", Route(method="GET", path=f"/health/{part}", handler=answer)) for part in ("ready", "live")]
    )
    with pytest.raises(NotFound, match=r"nothing at /health; there are /health/live and /health/ready$"):
        table.resolve("GET", "/health")


def test_an_overlong_address_is_not_repeated_whole() -> None:
    with pytest.raises(NotFound) as caught:
        TABLE.resolve("GET", "/" + "x" * 10_000)

    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("path", "plugin"),
    [("/api/v1/tts", "tts"), ("/api/v1/tts/voices", "tts"), ("/v1/audio/speech", "audio"), ("/v1/%61udio", "audio")],
)
def test_an_address_of_a_plugin_that_is_not_there_says_why(path: str, plugin: str) -> None:
    with pytest.raises(FeatureDisabled, match=f"{path} belongs to the plugin '{plugin}', which is off"):
        TABLE.resolve("GET", path)


def test_a_reserved_prefix_ends_at_a_segment() -> None:
    with pytest.raises(NotFound):
        TABLE.resolve("GET", "/api/v1/ttsx")


def test_the_longest_reserved_prefix_names_the_plugin() -> None:
    table = RouteTable([], {"/v1": "the plugin 'openai_api'", "/v1/audio": "the plugin 'audio'"})

    with pytest.raises(FeatureDisabled, match="'audio'"):
        table.resolve("POST", "/v1/audio/speech")


def test_another_method_is_refused_with_those_that_are_allowed() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        TABLE.resolve("POST", "/api/v1/streams/s_1")

    assert isinstance(caught.value, WrongMethod)
    assert caught.value.allow == ("DELETE", "GET", "HEAD", "OPTIONS")
    assert caught.value.message.endswith("; use DELETE, GET")


def test_head_is_answered_by_get() -> None:
    assert TABLE.resolve("HEAD", "/api/v1/streams").route is STREAMS
    with pytest.raises(WrongMethod):
        TABLE.resolve("HEAD", "/api/v1/chat")


async def test_options_answers_the_methods_that_are_allowed() -> None:
    match = TABLE.resolve("OPTIONS", "/api/v1/chat")
    answer = await match.route.handler(HttpRequest(None, None, None, {}, {}, "r"))  # type: ignore[arg-type]

    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers, match.route.scope) == (204, {"Allow": "OPTIONS, POST"}, None)


@pytest.mark.parametrize("other", ["/a/{id}", "/a/{name}"])
def test_two_routes_for_one_method_and_address_name_both_owners(other: str) -> None:
    with pytest.raises(RouteClash, match="'one' and by 'two'") as caught:
        RouteTable([("one", route("GET", "/a/{id}")), ("two", route("get", other))])

    assert caught.value.owners == ("one", "two")


@pytest.mark.parametrize("path", ["a", "", "/{}", "/x{id}", "/{a}/{a}", "/{a-b}", "/a%20b"])
def test_a_template_that_is_none_names_its_owner(path: str) -> None:
    with pytest.raises(ValueError, match="'acme' registers GET"):
        RouteTable([("acme", route("GET", path))])


SEGMENT = st.sampled_from(["a", "b", "é/ü", "{x}", "{y}"])
METHOD = st.sampled_from(["GET", "POST"])


def path_of(segments: list[str]) -> str:
    return "/" + "/".join(segments)


def fits(template: str, segments: list[str]) -> tuple[int, ...] | None:
    """0 for each static segment and 1 for each parameter when the template takes the segments: least is most specific."""
    parts = template.split("/")[1:]
    if len(parts) != len(segments):
        return None
    kinds = []
    for part, segment in zip(parts, segments, strict=True):
        if part == segment:
            kinds.append(0)
        elif part.startswith("{") and segment:
            kinds.append(1)
        else:
            return None
    return tuple(kinds)


def naively(routes: list[Route], method: str, segments: list[str]) -> Route | type[EngineError]:
    ranked = [(kinds, each) for each in routes if (kinds := fits(each.path, segments)) is not None]
    if not ranked:
        return NotFound
    best = min(kinds for kinds, _ in ranked)
    right = [each for kinds, each in ranked if kinds == best and each.method == method]
    return right[0] if right else WrongMethod


@given(
    templates=st.lists(
        st.tuples(METHOD, st.lists(SEGMENT.filter(lambda s: s != "é/ü"), min_size=1, max_size=4)), max_size=12
    ),
    method=METHOD,
    segments=st.lists(st.sampled_from(["a", "b", "c", "é/ü", ""]), min_size=1, max_size=4),
)
def test_the_table_agrees_with_a_naive_matcher(
    templates: list[tuple[str, list[str]]], method: str, segments: list[str]
) -> None:
    routes = [route(each, path_of(parts)) for each, parts in templates]
    try:
        table = RouteTable([("plugin", each) for each in routes])
    except ValueError:
        assume(False)
    sent = path_of([quote(segment, safe="") for segment in segments])

    try:
        found: Route | type[EngineError] = table.resolve(method, sent).route
    except EngineError as error:
        found = type(error)

    assert found == naively(routes, method, segments)


MODEL = Route(method="GET", path="/v1/models/{model}", handler=nothing, rest=True)
MODELS = RouteTable(
    [
        ("m", route("GET", "/v1/models")),
        ("m", MODEL),
        ("m", route("POST", "/v1/models/{model}/tune")),
        ("m", STREAM),
    ]
)


@pytest.mark.parametrize("name", ["a", "a/b", "ollama/hf.co/x/y:Q4", "a%2Fb/c", "a/b/c/d/e/f/g"])
def test_the_rest_of_an_address_is_one_parameter_with_its_slashes(name: str) -> None:
    assert MODELS.resolve("GET", f"/v1/models/{name}").path == {"model": name.replace("%2F", "/")}


def test_an_exact_address_wins_over_the_rest_of_another() -> None:
    assert MODELS.resolve("POST", "/v1/models/a/tune").path == {"model": "a"}
    with pytest.raises(MethodNotAllowed):
        MODELS.resolve("DELETE", "/v1/models/a/b/c")


def test_the_rest_has_no_empty_segment() -> None:
    with pytest.raises(NotFound):
        MODELS.resolve("GET", "/v1/models/a//b")


def test_a_slash_at_the_end_changes_nothing_under_v1() -> None:
    assert MODELS.resolve("GET", "/v1/models/").route.path == "/v1/models"
    assert MODELS.resolve("GET", "/v1/models/a/b/").path == {"model": "a/b"}
    with pytest.raises(NotFound):
        MODELS.resolve("GET", "/api/v1/streams/s_1/")
