"""`/docs`: one page of our own that shows the generated descriptions, without a network and without foreign code."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from engine.api.routes import Answer

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def docs_page() -> Answer:
    """The page, with a policy that lets nothing run but its own script and nothing be loaded but from this server."""
    html = files("engine.http").joinpath("data/docs.html").read_text(encoding="utf-8")
    return Answer(
        html.encode(),
        headers={
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy_of(html),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
        content_type="text/html",
    )


def policy_of(html: str) -> str:
    """A Content-Security-Policy that names the page's inline parts by their hash (CSP 3, section 2.3.1)."""
    inline = [(kind, _hash(text)) for kind, text in _INLINE.findall(html)]
    rules = {
        "default-src": ["'none'"],
        "script-src": _of("script", inline),
        "style-src": _of("style", inline),
        "connect-src": ["'self'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{rule} {' '.join(sources)}" for rule, sources in rules.items())


def _of(wanted: str, inline: Iterable[tuple[str, str]]) -> list[str]:
    return [source for kind, source in inline if kind == wanted] or ["'none'"]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
