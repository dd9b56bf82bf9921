"""Heavy libraries are imported in a thread, and one that is missing is named with what installs it."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from engine.api import ModelUnavailable, load_packages


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


async def test_a_package_is_imported_in_another_thread_and_once(folder: Path) -> None:
    (folder / "heavy_one.py").write_text("import threading\nthread = threading.get_ident()\n")
    await asyncio.gather(*(load_packages("heavy_one", extra="voice") for _ in range(5)))
    assert sys.modules["heavy_one"].thread != threading.get_ident()


async def test_who_comes_while_a_package_is_imported_waits_for_all_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    gates = ModuleType("gates")
    gates.begun, gates.go = begun, go  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gates", gates)
    (folder / "heavy_two.py").write_text("import gates\ngates.begun.set()\ngates.go.wait(10)\nwhole = True\n")
    first = asyncio.create_task(load_packages("heavy_two", extra="voice"))
    await asyncio.to_thread(begun.wait, 10)
    second = asyncio.create_task(load_packages("heavy_two", extra="voice"))
    await asyncio.sleep(0)
    assert not second.done()
    go.set()
    await asyncio.gather(first, second)
    assert sys.modules["heavy_two"].whole


async def test_a_package_that_is_missing_is_named_with_what_installs_it() -> None:
    with pytest.raises(
        ModelUnavailable, match=r"nothing_like_it is not installed: pip install 'betterai-engine\[voice\]'"
    ):
        await load_packages("nothing_like_it", extra="voice")


async def test_a_package_that_is_broken_says_why(folder: Path) -> None:
    (folder / "heavy_three.py").write_text("raise ImportError('libfoo.so: cannot open shared object file')\n")
    with pytest.raises(ModelUnavailable, match=r"heavy_three cannot be loaded: libfoo\.so"):
        await load_packages("heavy_three", extra="voice")
