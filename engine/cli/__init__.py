"""The `betterai` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from engine.cli import budgets, databases, keys, plugins, server, top, usage
from engine.cli.absent import absence, commands_of, unreadable
from engine.cli.remote import configured_address
from engine.cli.terminal import QUIET, TOLD, err, say
from engine.config import load, read_core
from engine.loader.find import Installed, installed_plugins
from engine.loader.load import Loader
from engine.log import configure
from engine.version import product_version

app = typer.Typer(
    name="betterai",
    help="A self-hosted server for chat and voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULTS: dict[str, Mapping[str, Any]] = {}
"""Defaults of options, for each command: that of a plugin finds the server where the configuration has it."""


def _say_version(asked: bool) -> None:
    if asked:
        say(product_version())
        raise typer.Exit


server.add_to(app)
usage.add_to(app)
top.add_to(app)
app.add_typer(plugins.app, name="plugins")
app.add_typer(keys.app, name="keys")
app.add_typer(budgets.app, name="budgets")
app.add_typer(databases.app, name="db")


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """A self-hosted server for chat and voice."""


def main() -> None:
    """Run the program, with the commands that plugins add."""
    if sys.argv[1:] not in (["version"], ["--version"]):
        missing = _add_plugin_commands()
        asked = next(iter(sys.argv[1:]), "")
        if asked and not asked.startswith("-") and asked not in commands_of(app) and (why := missing(asked)):
            err.print(why, style="red", soft_wrap=not err.is_terminal)
            sys.exit(2)
        app(default_map=DEFAULTS)
    else:
        app()


def _add_plugin_commands() -> Callable[[str], str | None]:
    """Commands of plugins, where their configuration can be read; a broken one must not keep `check` from telling why.

    Gives what says why a command is not there.
    """
    installed: Mapping[str, Installed] = {}
    try:
        installed = installed_plugins()
        raw = load(None, os.environ)
        core = read_core(raw)
        configure(QUIET)
        loader = Loader(installed, core.plugins.enabled, ())
        loader.load(raw)
        own = set(commands_of(app))
        loader.register_cli(app)
        if core.server.port:
            address = configured_address(core.server)
            DEFAULTS.update({name: {"server": address} for name in commands_of(app) if name not in own})
    except TOLD as error:
        return partial(unreadable, installed=installed, error=error)
    return partial(absence, raw=raw, loader=loader)
