"""What a plugin imports of the engine beside its public door: found in its source, since at run time nobody sees it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.api.plugin import Plugin
from engine.loader.code import code_place

DOORS = ("engine.api", "engine.wire", "engine.testing")
"""What plugins may import: anything else may change with any version."""

MOST_FILES = 200
LARGEST_FILE = 256 << 10
"""Bounds of what is looked at, in files and in bytes of each: generated code may be of any size."""


def inner_imports(plugin: type[Plugin]) -> list[str]:
    """Each module behind the door that the plugin's own source imports, as `engine.db.writer at acme/plugin.py:3`.

    Imports for the type checker alone do not count. Reads files: not for the event loop.
    """
    place = code_place(plugin)
    if place is None:
        return []
    path = Path(place)
    files = sorted(islice(path.rglob("*.py"), MOST_FILES)) if path.is_dir() else [path]
    return [f"{module} at {file}:{line}" for file in files for line, module in _inner(file)]


def _inner(file: Path) -> Iterator[tuple[int, str]]:
    try:
        if file.stat().st_size > LARGEST_FILE:
            return
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # nothing that is imported, or the import has failed and says why
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.If) and _is_for_type_checkers(node.test):
            waiting += node.orelse
            continue
        yield from ((node.lineno, module) for module in _modules(node) if not _is_open(module))  # type: ignore[attr-defined]
        waiting += ast.iter_child_nodes(node)


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("engine.")]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "engine":
        return [f"engine.{alias.name}" for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("engine."):
        return [node.module or ""]
    return []


def _is_open(module: str) -> bool:
    return any(module == door or module.startswith(f"{door}.") for door in DOORS)


def _is_for_type_checkers(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
