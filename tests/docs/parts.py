"""The generated parts of the pages: each stands between two markers and is made from the code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from engine.api import Audio, Cost, ErrorBody, Event, Route, Usage
from engine.bus.log import Entry
from engine.config import describe
from engine.wire.frames import decode_binary, encode_audio, stream_prefix
from tests.architecture.bodies import bounded
from tests.docs import examples
from tests.docs.advice import ADVICE
from tests.docs.product import Asked, all_hooks, codes, product, settings_tables
from tests.docs.public_door import reference
from tests.docs.shapes import description, fenced, field_rows, model_schema, struct_schema, table, type_text

ADDRESS = "http://127.0.0.1:8080"
MARK = re.compile(r"<!-- generated: (?P<name>[\w. -]+) -->\n.*?<!-- end -->", re.S)


def rewrite(page: str) -> str:
    """The page with its generated parts as the code has them now; raises KeyError for a part that nobody makes."""
    made = parts()
    return MARK.sub(lambda mark: f"<!-- generated: {mark['name']} -->\n{made[mark['name']]}\n<!-- end -->", page)


def parts() -> Mapping[str, str]:
    """Every generated part by its name."""
    makers: Mapping[str, Callable[[], str]] = {
        "settings": settings,
        "bounds": bounds,
        "errors": errors,
        "commands": commands,
        "frames": frames,
        "events": events,
        "types": types,
        "binary": binary,
        "http": http,
        "scopes": scopes,
        "api": reference,
    }
    return {**{name: make() for name, make in makers.items()}, **hooks()}


# Scopes

SCOPES: Mapping[str, str] = {
    "chat": "All that users do: conversations, voice and calls, files, the dialects of OpenAI and Anthropic, their usage.",
    "metrics": "Read the metrics, as a monitor does.",
    "admin": "See and switch the running server, and see what everybody does.",
}
"""What each scope is for, in words; one that nothing asks for, or that is not here, fails the test."""


def scopes() -> str:
    """Every scope that an address or a command of ours asks for."""
    asked: dict[str, list[str]] = {}
    for route in product().routes:
        if route.scope is not None:
            asked.setdefault(route.scope, []).append(f"`{place(route)}`")
    for command in product().commands:
        if command.scope is not None:
            asked.setdefault(command.scope, []).append(f"`{command.name}`")
    if asked.keys() != SCOPES.keys():
        raise KeyError(f"scopes asked for are {sorted(asked)}, and described are {sorted(SCOPES)}")
    rows = [(f"`{scope}`", what, _few(asked[scope])) for scope, what in SCOPES.items()]
    return table(
        "scope", "what it is for", "asked for by", rows=[*rows, ("`*`", "Everything, those of plugins too.", "")]
    )


def _few(places: list[str], most: int = 12) -> str:
    """The places, where they are few enough to be read."""
    return ", ".join(places) if len(places) <= most else f"{len(places)} addresses and commands: all that name no other"


# Settings


def settings() -> str:
    sections = []
    for name, model in settings_tables().items():
        rows = [
            (f"`{doc.key}`", doc.type, f"`{doc.default}`" if doc.default else "", doc.description, variables(doc.env))
            for doc in describe({name: model})
        ]
        if rows:
            columns = ("key", "type", "default", "what it does", "environment variables")
            sections.append(f"## [{name}]\n\n{table(*columns, rows=rows)}")
    return "\n\n".join(sections)


def variables(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def bounds() -> str:
    """Every list and object that a body may hold, by the most that it may hold."""
    places: dict[tuple[int, str], set[str]] = {}
    for each in bounded():
        if each.kind != "str" and each.most is not None:
            kind = "items" if each.kind == "list" else "members"
            places.setdefault((each.most, kind), set()).add(f"`{each.model.__name__}.{each.field}`")
    rows = [
        (f"{most:,}", kind, ", ".join(sorted(where))) for (most, kind), where in sorted(places.items(), reverse=True)
    ]
    return table("at most", "of", "where", rows=rows)


# Errors


def errors() -> str:
    return table("code", "HTTP", "try again", "when", "what to do", rows=list(error_rows()))


def error_rows() -> Iterator[tuple[str, ...]]:
    for code, (kind, *_) in codes().items():
        again = "yes" if kind.retryable else "no"
        yield f"`{code}`", str(kind.status), again, condition(kind.__doc__ or ""), ADVICE[code]


def condition(docstring: str) -> str:
    """What an error's docstring says of its condition, without the words that stand before it in the code."""
    sentence = " ".join(docstring.partition("\n\n")[0].split())
    said = re.sub(r"^Raised (?:when|for) ", "", sentence)
    return said[0].upper() + said[1:]


# The socket


def commands() -> str:
    return "\n\n".join(command(each) for each in product().commands)


def command(asked: Asked) -> str:
    schema, definitions = model_schema(asked.body)
    starts = "Starts a stream." if asked.starts else "Answered at once."
    if asked.owner != "engine":
        starts += f" Plugin `{asked.owner}`."
    lines = [f"### {asked.name}", f"{asked.summary} {starts}"]
    if asked.example:
        lines.append(fenced(asked.example, "json client"))
    rows = list(field_rows(schema))
    if rows:
        lines.append(table("field", "type", "meaning", rows=rows))
    lines += [nested(name, inner) for name, inner in sorted(definitions.items()) if inner.get("type") == "object"]
    return "\n\n".join(lines)


def nested(name: str, schema: Mapping[str, object]) -> str:
    rows = table("field", "type", "meaning", rows=list(field_rows(schema)))
    return f"**{name}**: {description(schema)}\n\n{rows}"


def frames() -> str:
    return "\n\n".join(
        "\n\n".join([struct_section(type(frame)), fenced(json.loads(msgspec.json.encode(frame)), "json server")])
        for frame in examples.FRAMES
    )


def events() -> str:
    return "\n\n".join(event_section(n, event) for n, event in examples.EVENTS)


def event_section(n: int, event: Event) -> str:
    if isinstance(event, Audio):
        return f"{struct_section(type(event))}\n\nGoes as a binary frame, see [below](#binary-frames)."
    frame = json.loads(Entry(n, event).frame(stream_prefix(examples.STREAM)))
    return f"{struct_section(type(event))}\n\n{fenced(frame, 'json server')}"


def struct_section(struct: type[msgspec.Struct]) -> str:
    """Heading, promise and fields of an event or a frame."""
    schema, _ = struct_schema(struct)
    return f"### {struct.__struct_config__.tag}\n\n{description(schema)}\n\n{struct_fields(schema)}"


def struct_fields(schema: Mapping[str, Any]) -> str:
    """Names and types on one line; a question mark stands behind what may be absent."""
    required = schema.get("required", ())
    fields = [
        f"`{name}{'' if name in required else '?'}` {type_text(field)}"
        for name, field in schema["properties"].items()
        if name != "type"
    ]
    return f"Fields: {' · '.join(fields)}"


def types() -> str:
    """The structs that stand inside events and frames."""
    sections = []
    for struct in (Usage, Cost, ErrorBody):
        schema, _ = struct_schema(struct)
        sections.append(f"### {struct.__name__}\n\n{description(schema)}\n\n{struct_fields(schema)}")
    return "\n\n".join(sections)


def binary() -> str:
    """An audio frame byte by byte."""
    n, event = next((n, event) for n, event in examples.EVENTS if isinstance(event, Audio))
    plain = encode_audio(17, n, 1, event)
    with_prev = encode_audio(17, n, 1, event, prev=6)
    assert decode_binary(with_prev).prev == 6
    return (
        f"```text\n{plain.hex(' ', 4)}\n```\n\nThe same frame for a reader that was not sent the numbers 7 and 8:\n\n"
        f"```text\n{with_prev.hex(' ', 4)}\n```"
    )


# HTTP


def http() -> str:
    return "\n\n".join(route_section(route) for route in product().routes)


def place(route: Route) -> str:
    return f"{route.method} {route.path}"


def route_section(route: Route) -> str:
    exchange = examples.HTTP[place(route)]
    lines = [f"### {place(route)}", f"{route.summary} {access(route)}"]
    if route.query is not None:
        lines.append(table("query", "type", "meaning", rows=list(field_rows(model_schema(route.query)[0]))))
    if route.body is not None:
        lines.append(body_fields(route))
    lines.append(f"```sh\n{curl(route, exchange)}\n```")
    lines.append(answer(route, exchange))
    return "\n\n".join(lines)


def body_fields(route: Route) -> str:
    assert route.body is not None
    schema, definitions = model_schema(route.body)
    if place(route) == "POST /api/v1/chat":
        return "The fields of [chat.send](#chatsend); `Idempotency-Key` is its `key`."
    lines = [table("field", "type", "meaning", rows=list(field_rows(schema)))]
    lines += [nested(name, inner) for name, inner in sorted(definitions.items()) if inner.get("type") == "object"]
    return "\n\n".join(lines)


def access(route: Route) -> str:
    return "Open to anybody." if route.scope is None else f"Scope `{route.scope}`."


def curl(route: Route, exchange: examples.Exchange) -> str:
    words = ["curl"]
    if route.method != ("GET" if exchange.body is None and exchange.form is None else "POST"):
        words.append(f"-X {route.method}")
    words.append(f"'{ADDRESS}{filled(route)}{exchange.query}'")
    words += [f"-H '{name}: {value}'" for name, value in exchange.headers.items()]
    words += [f"-F '{name}={value}'" for name, value in (exchange.form or {}).items()]
    if exchange.body is not None:
        words.append("-H 'Content-Type: application/json'")
        words.append(f"-d '{json.dumps(exchange.body, ensure_ascii=False)}'")
    return " ".join(words)


def filled(route: Route) -> str:
    """The address with an example in the place of each parameter."""
    values = {
        "message": examples.MESSAGE,
        "model": "local",
        "vendor": "openrouter",
        "owner": "meta-llama",
        "name": "openai_api",
    }
    return route.path.format_map({**values, "id": example_id(route)})


def example_id(route: Route) -> str:
    if "/streams/" in route.path:
        return examples.STREAM
    if "/storage/" in route.path:
        return examples.OBJECT
    return examples.PROMPT if "/prompts/" in route.path else examples.CONVERSATION


def answer(route: Route, exchange: examples.Exchange) -> str:
    lines = []
    if exchange.answer is not None:
        lines.append(f"Answers {route.status}:\n\n{fenced(exchange.answer)}")
    elif route.socket:
        lines.append("Answers 101: the connection is a WebSocket from here on.")
    elif route.status == 204:
        lines.append("Answers 204, without a body.")
    elif route.events and route.returns is None:
        lines.append("Answers 200 with [server-sent events](#server-sent-events).")
    else:
        lines.append("Answers 200 with the document.")
    if route.events and route.returns is not None:
        lines.append("With `Accept: text/event-stream`, or `stream` in OpenAI's dialect, it answers events.")
    others = [f"{status}: {text}" for status, text in sorted(route.statuses.items())]
    if others:
        lines.append(f"Also {'; '.join(others)}.")
    return "\n\n".join(lines)


# Hooks


def hooks() -> Mapping[str, str]:
    """For each hook its heading with the exact signature, and what it promises."""
    return {f"hook {hook.name}": f"## {hook.signature}\n\n{hook.promise}" for hook in all_hooks()}
