"""Every plugin's folder has one shape: what it is, its hooks, its settings."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.first_party import first_party
from tests.architecture.source import ROOT, Source

LONGEST_HOOK = 3
"""Statements in a hook's body: it makes objects and returns them; what they do stands elsewhere."""

PLUGINS = sorted(first_party())


def folder_file(plugin: str, file: str) -> Source:
    return Source(ROOT / "plugins" / plugin / file)


def test_the_plugins_are_found() -> None:
    assert {"chat", "local", "openai_api"} <= set(PLUGINS)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_package_holds_one_line_that_says_what_it_is_for(plugin: str) -> None:
    source = folder_file(plugin, "__init__.py")
    assert len(source.text.strip().splitlines()) == 1
    assert ast.get_docstring(source.tree)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_entry_point_names_the_class_of_the_folder(plugin: str) -> None:
    cls = first_party()[plugin].load()
    assert cls.name == plugin
    assert cls.__module__ == f"plugins.{plugin}.plugin"
    assert cls.Settings.__module__ == f"plugins.{plugin}.settings"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_hooks_collect_and_do_no_work(plugin: str) -> None:
    hooks = [
        node
        for node in ast.walk(folder_file(plugin, "plugin.py").tree)
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(mark, ast.Name) and mark.id == "hookimpl" for mark in node.decorator_list)
    ]
    assert hooks
    assert [hook.name for hook in hooks if len(hook.body) > LONGEST_HOOK] == []
