"""What stands at the root: a page for a person with a browser, and a line for whoever asks whether a server answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from engine.api.errors import EngineError
from engine.api.providers import Target
from engine.api.routes import Answer
from engine.http.pages import policy_of
from engine.providers.registry import Registry
from engine.wire.address import DEFAULT_ADDRESS
from engine.wire.hiding import without_places

_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?")
"""A host as it may stand in a command that is shown to be typed."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which model does one thing, or why none does."""

    does: str
    model: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What the page tells of the server. Only the server of one user tells it to anybody."""

    features: Sequence[str]
    parts: Sequence[Part]


def parts(registry: Registry) -> list[Part]:
    """What answers, hears and speaks where a client names no model."""
    return [
        _part("Answers", lambda: registry.chat(None).targets[0]),
        _part("Hears", lambda: registry.transcription(None).target),
        _part("Speaks", lambda: registry.speech(None).target),
    ]


def _part(does: str, find: Callable[[], Target]) -> Part:
    try:
        target = find()
    except EngineError as error:
        return Part(does, None, without_places(error.message))
    return Part(does, target.name, target.info.description if target.info is not None else "")


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether who asks is a browser: it names HTML, where programs take anything or JSON."""
    return "text/html" in headers.get("accept", "").lower()


def front_page(version: str, state: str, about: About | None, host: str) -> Answer:
    """The page. `about` is None where a server with keys tells strangers nothing; `host` is what the browser asked for."""
    address = f"http://{host}" if _HOST.fullmatch(host) else DEFAULT_ADDRESS
    html = _template().substitute(
        version=escape(version),
        state=escape(state),
        needs_key="" if about is not None else ", with an API key",
        about="\n".join(_told(about)) if about is not None else "",
        commands="\n".join(_commands(address, about)),
    )
    return Answer(
        html.encode(),
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy_of(html),
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
        },
        content_type="text/html",
    )


def front_line() -> Answer:
    """The answer to programs: clients and proxies ask there whether a server answers at all."""
    html = '<!doctype html><title>BetterAI</title><p>BetterAI answers here: <a href="/docs">documentation</a>.</p>\n'
    return Answer(
        html.encode(),
        headers={"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'", "Vary": "Accept"},
        content_type="text/html",
    )


@cache
def _template() -> Template:
    return Template(files("engine.http").joinpath("data/front.html").read_text(encoding="utf-8"))


def _told(about: About) -> Iterator[str]:
    yield "<h2>Default models</h2>"
    yield '<section class="card"><dl>'
    for part in about.parts:
        model = escape(part.model) if part.model is not None else "nothing"
        detail = f"<small>{escape(part.detail)}</small>" if part.detail else ""
        yield f"<div><dt>{escape(part.does)}</dt><dd>{model}{detail}</dd></div>"
    yield "</dl></section>"
    yield "<h2>Features that are on</h2>"
    yield f"<ul>{''.join(f'<li>{escape(name)}</li>' for name in about.features)}</ul>"


def _commands(address: str, about: About | None) -> Iterator[str]:
    server = "" if address == DEFAULT_ADDRESS else f" --server {address}"
    key = "" if about is not None else ' -H "Authorization: Bearer $BETTERAI_KEY"'
    body = """-H 'Content-Type: application/json' -d '{"input": "Hello!"}'"""
    if about is None:
        yield _command("Every command needs an API key", "export BETTERAI_KEY=bai_…")
    yield _command("Chat in a terminal", f"betterai chat{server}")
    yield _command("Ask over HTTP", f"curl {address}/api/v1/chat{key} \\\n  {body}")
    yield _command("Hear the server", f'betterai speak "Hello you." -o hello.wav{server}')


def _command(what: str, typed: str) -> str:
    return f'<p class="what">{escape(what)}</p>\n<pre>{escape(typed)}</pre>'
