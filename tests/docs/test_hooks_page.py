"""The examples of the page on hooks are one plugin that the engine takes."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

import aiohttp
import pluggy
import pytest

from engine.api import Plugin, hooks
from engine.loader.find import given_plugins
from tests.architecture.first_party import first_party
from tests.docs.pages import DOCS, blocks
from tests.docs.product import Hook, all_hooks
from tests.server import engine_inside


def plugin_of_the_page(folder: Path) -> type[Plugin]:
    """The first block is the head of the file and the class; each further one adds to the class, or stands before it."""
    head, *examples = [block.text for block in blocks(DOCS / "hooks.md", "python")]
    imports, _, body = head.partition("\n\n\nclass Notes(Plugin)")
    outside = [text.partition("@hookimpl")[0] for text in examples]
    inside = ["".join(text.partition("@hookimpl")[1:]) for text in examples]
    parts = [imports, *outside, f"class Notes(Plugin){body}", *(textwrap.indent(text, "    ") for text in inside)]
    file = folder / "notes.py"
    file.write_text("\n\n".join(parts))
    spec = importlib.util.spec_from_file_location("notes_of_the_page", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    notes: type[Plugin] = module.Notes
    return notes


[REVISION] = [block.text for block in blocks(DOCS / "hooks.md", "py")]


@pytest.mark.parametrize("hook", all_hooks(), ids=lambda hook: hook.name)
def test_the_example_returns_what_the_hook_asks_for(hook: Hook, tmp_path: Path) -> None:
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    plugin = plugin_of_the_page(tmp_path)()
    manager.register(plugin)
    manager.check_pending()
    assert hook.name in {caller.name for caller in manager.get_hookcallers(plugin) or ()}
    if hook.name != "register_cli":
        assert list(getattr(plugin, hook.name)(*(None for _ in hook.arguments)))


async def test_the_engine_takes_the_plugin_with_all_that_it_brings(tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "0001_notes.py").write_text(REVISION)
    installed = {**first_party(), **given_plugins(plugin_of_the_page(tmp_path))}
    settings = {"plugins.enabled": ["chat", "notes"], "plugins.required": ["notes"], "log.level": "critical"}
    async with (
        engine_inside(tmp_path, settings, installed=installed) as engine,
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
    ):
        async with http.get("/api/v1/notes") as answer:
            assert await answer.json() == {"notes": [], "of": "local"}
        async with http.post("/api/v1/chat", json={"input": "Hello", "model": "echo-1"}) as answer:
            assert (await answer.json())["text"] == "Hello"
        async with http.get("/health/ready") as answer:
            assert "notes.shelf" in await answer.text()
