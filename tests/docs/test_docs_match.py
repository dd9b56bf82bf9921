"""The pages say what the code does: nothing is missing, nothing is out of date, no link leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import api
from engine.api import EVENTS
from engine.config import describe
from engine.wire.control import FRAMES
from tests.architecture.source import ROOT
from tests.docs.generate import PICTURE, generated_pages
from tests.docs.pages import DOCS, PAGES, anchors, links
from tests.docs.parts import place, rewrite
from tests.docs.product import Hook, all_hooks, codes, product, settings_tables
from tests.docs.terminal import picture

PROTOCOL, ERRORS, SETTINGS, HOOKS = (
    (DOCS / name).read_text() for name in ("protocol.md", "errors.md", "settings.md", "hooks.md")
)
KEYS = [doc.key for doc in describe(settings_tables())]


@pytest.mark.parametrize("path", generated_pages(), ids=lambda path: path.name)
def test_generated_parts_are_current(path: Path) -> None:
    assert rewrite(path.read_text()) == path.read_text(), "run `make docs`"


def test_the_picture_of_the_terminal_is_current() -> None:
    assert PICTURE.read_text() == picture(), "run `make docs`"


def test_the_picture_needs_no_network() -> None:
    assert "url(http" not in picture()


@pytest.mark.parametrize("hook", all_hooks(), ids=lambda hook: hook.name)
def test_each_hook_is_documented_with_its_signature_and_an_example(hook: Hook) -> None:
    section = HOOKS.partition(f"\n## {hook.signature}\n")[2].partition("\n## ")[0]
    assert hook.promise in section
    assert f"def {hook.name}(" in section


@pytest.mark.parametrize("key", KEYS)
def test_each_setting_is_documented(key: str) -> None:
    assert f"| `{key}` |" in SETTINGS


def test_each_name_that_a_plugin_may_import_is_documented() -> None:
    headings = [line for line in (DOCS / "api.md").read_text().splitlines() if line.startswith("### ")]
    assert sorted(headings) == sorted(f"### {name}" for name in api.__all__)


def test_each_scope_is_documented() -> None:
    asked = [*(route.scope for route in product().routes), *(command.scope for command in product().commands)]
    listed = (DOCS / "deploying.md").read_text().partition("generated: scopes")[2].partition("<!-- end")[0]
    assert all(f"\n| `{scope}` |" in listed for scope in (*filter(None, asked), "*"))


@pytest.mark.parametrize("struct", [*EVENTS, *FRAMES], ids=lambda struct: struct.__name__)
def test_each_event_and_frame_is_documented(struct: type) -> None:
    assert f"\n### {struct.__struct_config__.tag}\n" in PROTOCOL  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [command.name for command in product().commands])
def test_each_command_is_documented_with_an_example(name: str) -> None:
    section = PROTOCOL.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    assert "```json client\n" in section


@pytest.mark.parametrize("address", [place(route) for route in product().routes])
def test_each_address_is_documented_with_a_request(address: str) -> None:
    section = PROTOCOL.partition(f"\n### {address}\n")[2].partition("\n### ")[0]
    assert "```sh\ncurl " in section


@pytest.mark.parametrize("code", sorted(codes()))
def test_each_error_code_is_documented(code: str) -> None:
    assert f"\n| `{code}` |" in ERRORS


def test_errors_of_one_code_have_one_status() -> None:
    assert {code: {kind.status for kind in kinds} for code, kinds in codes().items() if len(statuses(kinds)) > 1} == {}


def statuses(kinds: list[type]) -> set[int]:
    return {kind.status for kind in kinds}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_within_the_repository_resolves(path: Path) -> None:
    broken = []
    for link in links(path):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_page_is_reached_by_a_link(path: Path) -> None:
    reached = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES if page != path for link in links(page)
    }
    assert path.resolve() in reached
