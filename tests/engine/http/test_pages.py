"""The page that shows the generated descriptions."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from engine.http.pages import docs_page

VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """What the page is made of, and whether every element is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.attributes: set[str] = set()
        self.text: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data


def page() -> Page:
    body = docs_page().body
    assert isinstance(body, bytes)
    return Page(body.decode())


def test_it_is_one_whole_document() -> None:
    assert docs_page().content_type == "text/html"
    assert page().open == []


def test_it_loads_nothing_but_the_descriptions() -> None:
    assert set(page().loads) == {"data:,", "#content"}
    assert re.findall(r'load\("([^"]+)"\)', page().text["script"]) == ["/openapi.json", "/asyncapi.json"]
    assert "://" not in page().text["script"] + page().text["style"]


def test_its_policy_allows_its_own_script_and_style_and_no_other() -> None:
    policy = dict(rule.split(" ", 1) for rule in docs_page().headers["Content-Security-Policy"].split("; "))

    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page().text[kind].encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert not {name for name in page().attributes if name.startswith("on") or name == "style"}


def test_it_writes_text_and_never_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page().text["script"])
