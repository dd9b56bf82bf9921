"""What every command of `betterai` shares: its configuration, what it prints, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from engine.api.errors import EngineError
from engine.config import ConfigError, RawConfig, load
from engine.config.settings import LogSettings
from engine.db.errors import DatabaseUrlInvalid, DriverMissing
from engine.loader.find import PluginNameTaken
from engine.loader.gathered import Clash
from engine.loader.load import RequiredPluginFailed
from engine.log import configure
from engine.main import CannotListen, Engine
from engine.process import Blame, run_to_end

out = Console(markup=False, highlight=False, emoji=False)
err = Console(markup=False, highlight=False, emoji=False, stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else BETTERAI_CONFIG, else config/betterai.toml."),
]

# What an operator can mend: told in its own words, without a traceback.
UNUSABLE = (ConfigError, Clash, RequiredPluginFailed, PluginNameTaken, DatabaseUrlInvalid, DriverMissing)
"""What is wrong with the configuration or with what is installed: nothing is done before it is mended."""
TOLD = (*UNUSABLE, CannotListen, EngineError)

FAILED = 1
"""Exit code of a command that was understood and could not be done."""
MISUSED = 2
"""Exit code where the command line, the configuration, or what is installed cannot be used."""

QUIET = LogSettings(level="critical")
"""For commands whose output says what the log would."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the program with a message for the person at the terminal."""
    err.print(message, style="red", soft_wrap=not err.is_terminal)
    raise typer.Exit(code)


def say(message: str, style: str = "") -> None:
    """Print a line, wrapped between words on a terminal, and whole for whoever reads it through a pipe."""
    out.print(message, style=style, soft_wrap=not out.is_terminal)


def show(table: Table) -> None:
    """Print a table: folded to the width of a terminal; into a pipe or a file each row is one line, however long."""
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(width=10_000, file=StringIO(), markup=False, highlight=False, emoji=False)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def plain_table(*headers: str) -> Table:
    """A plain table whose cells are folded where they are too long, and never cut; the first column stays whole."""
    plain = Table(box=None, pad_edge=False)
    for at, header in enumerate(headers):
        plain.add_column(header, overflow="fold", no_wrap=at == 0)
    return plain


def read(config: Path | None) -> RawConfig:
    configure(QUIET)
    try:
        return load(config, os.environ)
    except ConfigError as error:
        fail(str(error), MISUSED)


def run(
    work: Coroutine[Any, Any, Any],
    loop: str = "asyncio",
    explain: Callable[[ConfigError], str] = str,
    blame: Blame | None = None,
) -> Any:
    """Run a command's work; ends the program with words where the operator can mend what it raises."""
    try:
        if loop == "uvloop" and sys.platform != "win32":
            # Imported here: commands other than serve have no use for it, and it is missing on Windows.
            import uvloop

            return run_to_end(work, uvloop.new_event_loop, blame)
        return run_to_end(work, None, blame)
    except ConfigError as error:
        fail(explain(error), MISUSED)
    except UNUSABLE as error:
        fail(str(error), MISUSED)
    except TOLD as error:
        fail(str(error))
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def assembled(raw: RawConfig) -> Engine:
    """An engine that is put together and not started, to look at."""
    engine = Engine(raw)
    engine.prepare_plugins()
    engine.swap()
    return engine
