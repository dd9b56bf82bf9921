"""Every hook: when it is called, what it is given, and what becomes of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import typer
from pydantic import Field
from sqlalchemy import Column, MetaData, String, Table, select
from typer.testing import CliRunner

from engine.api.commands import Call, Command, Request, Serve
from engine.api.data import Tables
from engine.api.hooks import hookimpl
from engine.api.identity import LOCAL
from engine.api.plugin import Health, HealthCheck, Listener, Plugin, PluginContext, SettingsTable, TurnEnded
from engine.api.providers import ModelInfo, Provider
from engine.api.routes import Route
from engine.api.streams import Writer
from engine.api.tools import Tool
from engine.testing.providers import ScriptedProvider
from tests.engine.loader.kit import Nothing, call, config_of, get, health, loaded, plugin, route, running, tool


class Weather(SettingsTable):
    """A table that plugins share."""

    table = "vendors.weather"

    city: str = Field("Bern", description="Where.")


async def test_hook_register_settings_adds_a_table_that_the_context_then_gives(tmp_path: Path) -> None:
    class Forecast(Plugin):
        name = "forecast"

        @hookimpl
        def register_settings(self) -> Iterable[type[SettingsTable]]:
            return [Weather]

    async with running(tmp_path, Forecast, text='[vendors.weather]\ncity = "Basel"\n') as engine:
        context = engine.loader.parts["forecast"].context
        assert context is not None
        assert context.settings(Weather).city == "Basel"


def test_hook_register_settings_is_called_once_and_may_give_a_table_of_another(tmp_path: Path) -> None:
    asked: list[str] = []

    def tables(name: str) -> type[Plugin]:
        def answer() -> list[type[SettingsTable]]:
            asked.append(name)
            return [Weather]

        return plugin(name, tables=answer)

    loader = loaded(config_of(tmp_path, []), tables("one"), tables("two"))

    assert asked == ["one", "two"]
    assert loader.off == []


def test_hook_register_cli_adds_commands_before_settings_are_read(tmp_path: Path) -> None:
    class Greeter(Plugin):
        name = "greeter"

        @hookimpl
        def register_cli(self, app: typer.Typer) -> None:
            app.command("greet")(lambda: typer.echo("good morning"))

    app = typer.Typer()
    app.command("other")(lambda: None)
    loader = loaded(config_of(tmp_path, []), Greeter)
    loader.register_cli(app)

    assert CliRunner().invoke(app, ["greet"]).output == "good morning\n"


async def test_hook_register_tables_has_its_tables_made_before_the_port_opens(tmp_path: Path) -> None:
    metadata = MetaData()
    notes = Table("notes", metadata, Column("text", String(100), primary_key=True))
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "0001_notes.py").write_text(
        '"""Notes."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        'revision = "notes_0001"\ndown_revision = None\n\n\n'
        "def upgrade() -> None:\n"
        '    op.create_table("notes", sa.Column("text", sa.String(100), primary_key=True))\n'
    )

    class Notes(Plugin):
        name = "notes"

        @hookimpl
        def register_tables(self, context: PluginContext) -> Iterable[Tables]:
            return [Tables(metadata, migrations)]

    async with running(tmp_path, Notes) as engine, engine.databases.database().read() as connection:
        assert (await connection.execute(select(notes))).all() == []


async def test_hook_register_models_adds_entries_to_the_catalogue(tmp_path: Path) -> None:
    class Acme(Plugin):
        name = "acme"

        @hookimpl
        def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
            return [ModelInfo(id="acme-1", provider="acme", context=1000)]

    async with running(tmp_path, Acme) as engine:
        assert engine.registry.known()["acme-1"].context == 1000


async def test_hook_register_providers_makes_a_model_answer(tmp_path: Path) -> None:
    class Acme(Plugin):
        name = "acme"

        @hookimpl
        def register_providers(self, context: PluginContext) -> Iterable[Provider]:
            return [ScriptedProvider(name="acme")]

    async with running(tmp_path, Acme) as engine:
        (target,) = engine.registry.chat("acme/anything").targets
        assert (target.provider.name, target.model) == ("acme", "anything")


async def test_hook_register_tools_fills_the_table_that_every_context_shows(tmp_path: Path) -> None:
    class Clock(Plugin):
        name = "clock"

        @hookimpl
        def register_tools(self, context: PluginContext) -> Iterable[Tool]:
            return [tool("what_time")]

    async with running(tmp_path, Clock, plugin("other")) as engine:
        context = engine.loader.parts["other"].context
        assert context is not None
        assert [each.name for each in context.tools.offered(LOCAL)] == ["what_time"]


async def test_hook_register_commands_answers_in_process(tmp_path: Path) -> None:
    class Echo(Plugin):
        name = "echo"

        @hookimpl
        def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
            return [call("echo.say")]

    async with running(tmp_path, Echo) as engine:
        assert await engine.commands.call(LOCAL, "echo.say", {}) == {"called": "echo.say"}


async def test_hook_register_routes_answers_over_the_port(tmp_path: Path) -> None:
    class Echo(Plugin):
        name = "echo"

        @hookimpl
        def register_routes(self, context: PluginContext) -> Iterable[Route]:
            return [route("/api/v1/echo")]

    async with running(tmp_path, Echo) as engine:
        assert await get(engine, "/api/v1/echo") == (200, {"path": "/api/v1/echo"})


async def test_hook_register_listeners_hears_of_every_ended_turn(tmp_path: Path) -> None:
    heard: list[TurnEnded] = []

    async def serve(stream: Writer) -> None:
        stream.text("hello")

    async def prepare(request: Request[Nothing]) -> Serve:
        return Serve(serve, detail={"about": "nothing"})

    class Ears(Plugin):
        name = "ears"

        @hookimpl
        def register_listeners(self, context: PluginContext) -> Iterable[Listener]:
            return [Listener(heard.append)]

        @hookimpl
        def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
            return [Command(name="ears.hear", body=Nothing, prepare=prepare)]

    async with running(tmp_path, Ears) as engine:
        reader = await engine.commands.start(LOCAL, "ears.hear", {})
        await reader.ended()
        await engine.supervisor.drain(5)
        assert [(turn.command, turn.status, turn.detail) for turn in heard] == [
            ("ears.hear", "completed", {"about": "nothing"})
        ]


async def test_hook_register_health_checks_is_a_line_that_is_asked_anew_each_time(tmp_path: Path) -> None:
    states = iter([Health("loading", "half way"), Health("ok")])

    class Slow(Plugin):
        name = "slow"

        @hookimpl
        def register_health_checks(self, context: PluginContext) -> Iterable[HealthCheck]:
            return [HealthCheck("model", lambda: next(states))]

    async with running(tmp_path, Slow) as engine:
        assert (await health(engine))["slow.model"] == ("loading", "half way")
        assert (await health(engine))["slow.model"] == ("ok", "")


async def test_hook_register_lifespan_is_open_while_the_port_is_and_closed_in_reverse(tmp_path: Path) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def open_while_on(name: str) -> AsyncIterator[None]:
        told.append(f"{name} opens")
        yield
        told.append(f"{name} closes")

    def lives(name: str) -> type[Plugin]:
        class Lives(Plugin):
            @hookimpl
            def register_lifespan(self, context: PluginContext) -> Iterable[AbstractAsyncContextManager[None]]:
                return [open_while_on(f"{name}.1"), open_while_on(f"{name}.2")]

        Lives.name = name
        return Lives

    async with running(tmp_path, lives("a"), lives("b")):
        assert told == ["a.1 opens", "a.2 opens", "b.1 opens", "b.2 opens"]
    assert told[4:] == ["b.2 closes", "b.1 closes", "a.2 closes", "a.1 closes"]
