"""Which plugin a piece of code belongs to."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import pytest

from engine.loader.code import Ownership, is_library

FILES = {
    "__init__.py": "",
    "plugin.py": """
from engine.api import Plugin
from house.left import left


class Left(Plugin):
    name = "left"

    def hook(self):
        return left


class Right(Plugin):
    name = "right"

    def hook(self):
        return lambda: helper()


def helper():
    pass
""",
    "left.py": """
def left():
    def inner():
        pass
    return inner


def beside():
    pass
""",
    "third/__init__.py": """
from engine.api import Plugin


class Third(Plugin):
    name = "third"
""",
    "third/work.py": "def work():\n    pass\n",
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package with two plugins in one file and a third in a package within it."""
    for name, text in FILES.items():
        file = tmp_path / "house" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("house.plugin")
    for name in [each for each in sys.modules if each.partition(".")[0] == "house"]:
        del sys.modules[name]


@pytest.fixture
def owners(house: ModuleType) -> Ownership:
    third = importlib.import_module("house.third")
    return Ownership([house.Left, house.Right, third.Third], [("left", sys.modules["house.left"].left)])


def within(code: CodeType) -> CodeType:
    return next(each for each in code.co_consts if isinstance(each, CodeType))


def test_a_method_belongs_to_its_class_also_where_two_plugins_share_the_file(
    house: ModuleType, owners: Ownership
) -> None:
    assert owners.owners(house.Left.hook.__code__) == {"left"}
    assert owners.owners(within(house.Right.hook.__code__)) == {"right"}


def test_what_one_plugin_registered_is_its_own_with_all_of_its_file(house: ModuleType, owners: Ownership) -> None:
    module = sys.modules["house.left"]
    assert owners.owners(within(module.left.__code__)) == {"left"}
    assert owners.owners(module.beside.__code__) == {"left"}


def test_a_function_of_a_shared_file_belongs_to_all_of_them(house: ModuleType, owners: Ownership) -> None:
    assert owners.owners(house.helper.__code__) == {"left", "right"}


def test_the_innermost_package_decides(owners: Ownership) -> None:
    work = importlib.import_module("house.third.work").work
    assert owners.owners(work.__code__) == {"third"}


def test_code_of_nobody_has_no_owner(owners: Ownership) -> None:
    assert not owners.owners(is_library.__code__)


def test_a_helper_in_a_shared_file_is_told_apart_by_who_called_it(house: ModuleType, owners: Ownership) -> None:
    seen: list[str | None] = []

    def spy(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is house.helper.__code__:
            running = owners.running(frame)
            seen.append(running.plugin if running is not None else None)

    sys.setprofile(spy)
    try:
        house.Right().hook()()
    finally:
        sys.setprofile(None)
    assert seen == ["right"]


def test_an_installed_package_is_a_library_and_the_standard_library_is_none() -> None:
    assert is_library(str(pytest.__file__))
    assert not is_library(str(importlib.__file__))
    assert not is_library("<frozen importlib._bootstrap>")
