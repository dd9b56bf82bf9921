"""Which plugin a piece of running code belongs to, by the file it was written in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType

from engine.api.plugin import Plugin


def code_place(plugin: type[Plugin]) -> str | None:
    """The folder of a plugin's package, ending in a separator, or its one file; None where it has neither."""
    written = getattr(sys.modules.get(plugin.__module__), "__file__", None)
    if written is None:
        return None
    file = Path(written).absolute()
    return f"{file.parent}/" if file.name in ("plugin.py", "__init__.py") else str(file)


def owner_of(file: str, places: Mapping[str, str]) -> str | None:
    """The plugin in whose place a file is; `places` are those of `code_place` by plugin."""
    return next(
        (name for name, place in places.items() if file == place or (place[-1] == "/" and file.startswith(place))), None
    )


def frames_of(frame: FrameType | None, places: Mapping[str, str]) -> tuple[str, FrameType, FrameType] | None:
    """The plugin of the innermost frame of a stack that is a plugin's, this frame, and the one through which it was entered."""
    inner: FrameType | None = None
    owner: str | None = None
    entered = None
    while frame is not None:
        found = owner_of(frame.f_code.co_filename, places)
        if found is not None and owner is None:
            owner, inner = found, frame
        if found is not None and found == owner:
            entered = frame
        frame = frame.f_back
    return None if owner is None or inner is None or entered is None else (owner, inner, entered)


def tasks_within(place: str) -> list[asyncio.Task[object]]:
    """Tasks of the running loop whose own coroutine was written in this place."""
    return [task for task in asyncio.all_tasks() if not task.done() and owner_of(_file_of(task), {"it": place})]


def _file_of(task: asyncio.Task[object]) -> str:
    coroutine = task.get_coro()
    code: CodeType | None = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    return code.co_filename if code is not None else ""


def places_of(plugins: Iterable[type[Plugin]]) -> dict[str, str]:
    """The places of several plugins by their names."""
    return {plugin.name: place for plugin in plugins if (place := code_place(plugin)) is not None}
