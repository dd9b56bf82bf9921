"""A plugin that goes past the public door is told where."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from engine.api.plugin import Plugin
from engine.config import load
from engine.loader.find import given_plugins
from engine.loader.inner_imports import inner_imports
from engine.loader.load import Loader
from tests.server import engine_inside

DOOR = "from engine.api import Plugin\n\nclass Acme(Plugin):\n    name = 'acme'\n"
INSIDE = """from typing import TYPE_CHECKING

import engine.db.writer
import engine.api.errors
from engine import wire, bus
from engine.testing.clock import VirtualTimeLoop

if TYPE_CHECKING:
    from engine.main import Engine


def later():
    from engine.sessions.supervisor import Supervisor
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "acme_of_tests"
    folder.mkdir()
    (folder / "plugin.py").write_text(DOOR, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in ("acme_of_tests", "acme_of_tests.plugin"):
        sys.modules.pop(name, None)


def acme() -> type[Plugin]:
    importlib.invalidate_caches()
    found: type[Plugin] = importlib.import_module("acme_of_tests.plugin").Acme
    return found


def test_every_import_past_the_door_is_named_with_its_place(package: Path) -> None:
    (package / "inside.py").write_text(INSIDE, encoding="utf-8")
    file = package / "inside.py"
    assert sorted(inner_imports(acme())) == [
        f"engine.bus at {file}:5",
        f"engine.db.writer at {file}:3",
        f"engine.sessions.supervisor at {file}:13",
    ]


@pytest.mark.parametrize("broken", [b"def broken(:", b"\xff\xfe", b"import engine.db\n" + b"#" * (256 << 10)])
def test_what_cannot_be_read_is_passed_over(package: Path, broken: bytes) -> None:
    (package / "broken.py").write_bytes(broken)
    assert inner_imports(acme()) == []


async def test_the_server_and_the_check_say_so_and_both_go_on(package: Path, tmp_path: Path) -> None:
    (package / "plugin.py").write_text(f"import engine.db.writer\n{DOOR}", encoding="utf-8")
    expected = f"engine.db.writer at {package / 'plugin.py'}:1"
    installed = given_plugins(acme())
    with structlog.testing.capture_logs() as lines:
        async with engine_inside(tmp_path, {"plugins.enabled": ["acme"]}, installed=installed) as engine:
            assert engine._probing is not None
            await engine._probing
            await engine.plugins.switch("acme", False)
            await engine.plugins.switch("acme", True)
    told = [line for line in lines if line["event"] == "plugin_imports_internals"]
    assert [(line["plugin"], line["imports"], line["count"]) for line in told] == [("acme", [expected], 1)] * 2


def test_the_plugins_that_are_shipped_are_left_to_the_tests_of_the_engine(package: Path) -> None:
    (package / "plugin.py").write_text(f"import engine.db.writer\n{DOOR}", encoding="utf-8")
    found = given_plugins(acme())["acme"]
    for own, names in ((False, ["acme"]), (True, [])):
        loader = Loader({"acme": replace(found, own=own)}, ["acme"], [])
        loader.load(load(None, {}))
        assert list(loader.inner_imports()) == names
