"""Each hook has a test that bears its name, where plugins are loaded."""

from __future__ import annotations

import ast
import inspect

import pytest

from engine.api import hooks
from tests.architecture.source import sources

HOOKS = [name for name, _ in inspect.getmembers(hooks, inspect.isfunction) if name.startswith("register_")]


def names_of_tests() -> list[str]:
    return [
        node.name
        for source in sources("tests/engine/loader")
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_test_is_named_after_the_hook(hook: str) -> None:
    start = f"test_hook_{hook.removeprefix('register_')}"
    named = [name for name in names_of_tests() if name.replace("hook_register_", "hook_").startswith(start)]
    assert named, f"no test in tests/engine/loader begins with {start}"
