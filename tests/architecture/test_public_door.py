"""`engine.api` is the one door for plugins: sorted, complete, and all that the first-party plugins need."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import engine.api
from tests.architecture.source import Source, sources

REVISIONS = "engine.api.revisions"
"""A door of its own, for revision files alone: it needs Alembic, which an upgraded server never imports."""

API = [source for source in sources("engine/api") if source.module not in ("engine.api", REVISIONS)]
NO_PART_OF_THE_DOOR = frozenset({"PROJECT", "hookspec"})
"""What only the loader needs: the name that hooks are found by."""


def test_the_names_of_the_door_are_sorted() -> None:
    names = engine.api.__all__
    assert isinstance(names, tuple)
    assert list(names) == sorted(set(names), key=kind_and_name)


def kind_and_name(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: the order in which ruff sorts."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_every_name_of_the_door_is_there() -> None:
    assert [name for name in engine.api.__all__ if not hasattr(engine.api, name)] == []


def test_every_public_name_behind_the_door_is_on_it() -> None:
    defined = {name: source.name for source in API for name in public_names(source)}
    missing = {name: file for name, file in defined.items() if name not in engine.api.__all__}
    assert missing == {}


def public_names(source: Source) -> Iterator[str]:
    """Classes, functions and constants defined here; hooks are reached by `hookimpl`, type variables by nobody."""
    for node in source.tree.body:
        names: list[str] = []
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [node.name]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        elif isinstance(node, ast.Assign) and not is_type_variable(node.value):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        yield from (
            name for name in names if not name.startswith(("_", "register_")) and name not in NO_PART_OF_THE_DOOR
        )


def is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def test_plugins_take_nothing_from_behind_the_door_that_is_not_on_it() -> None:
    taken = {
        f"{source.name}: {alias.name}"
        for source in sources("plugins")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("engine.api")
        if node.module != REVISIONS
        for alias in node.names
        if alias.name not in engine.api.__all__
    }
    assert taken == set()


def test_only_revision_files_use_what_is_made_for_them() -> None:
    users = [source.path for source in sources("plugins") if any(name == REVISIONS for _, name in source.imports)]
    assert [str(path) for path in users if path.parent.name != "migrations"] == []
