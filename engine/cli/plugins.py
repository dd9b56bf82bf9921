"""Commands about plugins: list those that are installed, switch them, and begin one of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from engine.cli.plugin_states import configured, running, table
from engine.cli.remote import KeyOption, NoServer, OfflineOption, ServerOption, ask, server_address
from engine.cli.terminal import MISUSED, ConfigOption, err, fail, read, say, show
from engine.loader.find import installed_plugins

app = typer.Typer(help="List the installed plugins, switch them, or begin one of your own.")

NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")


class Role(StrEnum):
    """A role that the template has a provider for."""

    CHAT = "chat"
    SPEECH = "speech"


# What a file of the template becomes, and the folder that it is in for each choice of roles.
_COMMON: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "__init__.py": "betterai_{name}/__init__.py",
    "settings.py": "betterai_{name}/settings.py",
}
_OF_ROLE: Mapping[Role, Mapping[str, str]] = {
    Role.CHAT: {"chat.py": "betterai_{name}/chat.py", "test_chat.py": "tests/test_chat.py"},
    Role.SPEECH: {"speech.py": "betterai_{name}/speech.py", "test_speech.py": "tests/test_speech.py"},
}


@app.callback(invoke_without_command=True)
def plugins(
    context: typer.Context,
    offline: OfflineOption = False,
    server: ServerOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """List the installed plugins: what is on, where it comes from, its hooks, and why one is off.

    The running server is asked; where none answers, the configuration says what a start would bring.
    """
    if context.invoked_subcommand is not None:
        _refuse_before(context, context.invoked_subcommand)
        return
    raw = read(config)
    url = server_address(raw, server)
    try:
        if offline:
            raise NoServer("no server was asked")
        lines, source = running(url, key), f"as the server at {url} says"
    except NoServer as error:
        if server is not None and not offline:
            fail(str(error))
        lines, source = configured(raw), f"as the configuration says: {error}"
    show(table(lines))
    err.print(source, soft_wrap=not err.is_terminal)


def _refuse_before(context: typer.Context, command: str) -> None:
    """End where an option of the list stands before a command, which would not see it and might ask another server."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name) if option.name else None
        if source is not None and source.name == "COMMANDLINE":
            written = max(option.opts, key=len)
            fail(
                f"{written} is an option of the list; for {command} it stands behind: betterai plugins {command} …",
                MISUSED,
            )


PersistOption = Annotated[bool, typer.Option("--persist", help="Also after a restart of the server.")]


@app.command("enable")
def enable(
    name: Annotated[str, typer.Argument(help="Name of the plugin.")],
    persist: PersistOption = False,
    server: ServerOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Switch a plugin of the running server on."""
    _switch(name, True, persist, server_address(read(config), server), key)


@app.command("disable")
def disable(
    name: Annotated[str, typer.Argument(help="Name of the plugin.")],
    persist: PersistOption = False,
    server: ServerOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Switch a plugin of the running server off; what runs has `server.drain` seconds to finish."""
    _switch(name, False, persist, server_address(read(config), server), key)


def _switch(name: str, enabled: bool, persist: bool, url: str, key: str | None) -> None:
    body = {"enabled": enabled, "persist": persist}
    now = ask(url, "PUT", f"/api/v1/admin/plugins/{quote(name, safe='')}", key, body)
    running = f"; {now['running']} of its turns run on" if now.get("running") else ""
    say(f"{now['name']} is {now['state']}{running}")
    if persist:
        say("also after the next start: kept in the file that the server's [plugins] switches names (var/plugins.toml)")
    else:
        say("until the server's next start; --persist keeps it")
    if now["state"] == "on":
        # A plugin that is on may still lack what it works with, such as a library; health says so and the switch does not.
        for line in ask(url, "GET", "/api/v1/admin/status", key)["checks"]:
            if line["name"].split(".")[0] == name and line["state"] != "ok":
                say(f"{line['name']} is {line['state']}: {line.get('detail', '')}", "yellow")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin: lower-case letters, digits and _.")],
    role: Annotated[list[Role] | None, typer.Option(help="What it provides, several times; else chat.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to write it; else betterai-plugin-NAME here.")] = None,
) -> None:
    """Write a package with a provider, ready to be tested, installed and changed."""
    if NAME.fullmatch(name) is None:
        fail(f"{name!r} is no name for a plugin: it begins with a letter, and has lower-case letters, digits and _", 2)
    if (taken := installed_plugins().get(name)) is not None:
        fail(f"there is a plugin {name!r} already, from {taken.origin}; choose another name", 2)
    target = folder or Path(f"betterai-plugin-{name}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        fail(f"{target} is there already; choose another --folder, or remove it", 2)
    for path, text in package(name, set(role or [Role.CHAT])).items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        say(str(file))
    say(f"\ncd {target}\npip install --editable '.[dev]'\npytest")


def package(name: str, roles: Set[Role]) -> dict[str, str]:
    """The files of a new package with a provider for each role, by their paths."""
    words = {"name": name, "title": "".join(part.title() for part in name.split("_")), "env": name.upper()}
    plugin = "both" if len(roles) > 1 else next(iter(roles)).value
    places = {("chat", source): path for source, path in _COMMON.items()}
    places[plugin, "plugin.py"] = "betterai_{name}/plugin.py"
    for role in roles:
        places |= {(role.value, source): path for source, path in _OF_ROLE[role].items()}
    template = files("engine.cli").joinpath("template")
    return {
        path.format(**words): template.joinpath(folder, f"{source}.txt").read_text(encoding="utf-8").format(**words)
        for (folder, source), path in places.items()
    }
