"""The composition root: what stops a start and in which words, and that a start which fails leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.api.errors import ModelUnavailable
from engine.config import ConfigError, ConfigErrors
from engine.db.databases import Databases
from engine.db.errors import DatabaseInUse, MigrationsPending
from engine.loader.find import given_plugins
from engine.loader.load import RequiredPluginFailed
from engine.main import CannotListen, Engine
from engine.testing.providers import ScriptedProvider
from tests.databases import drop_all_tables, mysql_url
from tests.engine.loader.kit import config_of, engine_of, get, plugin, refuse, running

__all__ = ("mysql_url",)


@contextmanager
def taken_port() -> Iterator[int]:
    """A port on loopback that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def engine_with(folder: Path, key: str, value: object) -> Engine:
    return Engine(config_of(folder, []).with_value(key, value, "test"), {})


async def test_an_address_that_others_reach_needs_keys_and_the_message_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        await engine_with(tmp_path, "server.host", "0.0.0.0").start()
    for part in ('server.host = "0.0.0.0"', 'auth.mode = "keys"', "betterai keys create", '"127.0.0.1"'):
        assert part in str(error.value)


async def test_an_origin_for_all_pages_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    engine = engine_with(tmp_path, "server.cors_origins", ["*"])
    with pytest.raises(ConfigErrors, match=r"server\.cors_origins"):
        engine.judge()
    with pytest.raises(ConfigErrors, match=r"server\.cors_origins"):
        await engine.start()
    assert not (tmp_path / "betterai.db").exists()


async def test_a_second_start_on_one_database_names_the_process_that_has_it(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(DatabaseInUse, match=f"in use by process {os.getpid()}"):
            await engine_of(tmp_path).start()


async def test_tables_that_are_behind_stop_the_start_where_nobody_allowed_an_upgrade(
    tmp_path: Path, mysql_url: str
) -> None:
    config = config_of(tmp_path, []).with_value("databases.default", mysql_url, "test")
    with pytest.raises(MigrationsPending, match=r"the tables of engine in database 'default' .* `betterai db upgrade`"):
        await Engine(config, {}).start()


async def test_tables_that_are_behind_are_upgraded_where_it_is_allowed(tmp_path: Path, mysql_url: str) -> None:
    config = config_of(tmp_path, []).with_value("databases.default", mysql_url, "test")
    engine = Engine(config.with_value("databases.auto_upgrade", True, "test"), {})
    await engine.start()
    try:
        assert (await get(engine, "/health/ready"))[0] == 200
    finally:
        await engine.stop(0)
        await drop_all_tables(mysql_url)


async def test_a_default_model_whose_provider_is_off_is_a_warning_and_its_use_an_error(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running(tmp_path) as engine:
            with pytest.raises(ModelUnavailable, match="the default model 'local' is not there"):
                engine.registry.chat(None)
    (warning,) = [line for line in logs if line["event"] == "model_not_ready"]
    assert warning["log_level"] == "warning"
    assert warning["reason"].startswith("[models] default: there is no model 'local'")


async def test_a_default_model_whose_provider_failed_to_start_is_warned_of(tmp_path: Path) -> None:
    late = plugin(
        "late",
        register_providers=lambda context: [ScriptedProvider(name="late")],
        register_lifespan=lambda context: [raising_on_entry()],
    )
    with capture_logs() as logs:
        async with running(tmp_path, late, text='[models]\ndefault = "late/any"\n'):
            pass
    assert "model_not_ready" in [line["event"] for line in logs]


# A start that fails half way


@asynccontextmanager
async def raising_on_entry() -> AsyncIterator[None]:
    raise RuntimeError("no luck today")
    yield


@asynccontextmanager
async def never_ready(reached: asyncio.Event) -> AsyncIterator[None]:
    reached.set()
    await asyncio.Event().wait()
    yield


async def assert_nothing_is_left(engine: Engine, folder: Path, tasks: set[asyncio.Task[object]]) -> None:
    """No task, no open database, and its lock free for the next one."""
    assert asyncio.all_tasks() == tasks
    assert not any(database.is_open for database in engine.databases)
    databases = Databases({"default": f"sqlite+aiosqlite:///{folder}/betterai.db"})
    await databases.open()
    await databases.close()


async def test_a_port_in_use_is_told_with_its_address_and_leaves_nothing_behind(tmp_path: Path) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        told.append("opened")
        yield
        told.append("closed")

    tasks = asyncio.all_tasks()
    installed = given_plugins(plugin("one", register_lifespan=lambda context: [opened()]))
    with taken_port() as port:
        engine = Engine(config_of(tmp_path, ["one"]).with_value("server.port", port, "--port"), installed)
        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{port}.*in use.*--port"):
            await engine.start()
    assert told == ["opened", "closed"]
    await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_an_address_of_another_machine_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    text = '[auth]\nmode = "keys"\nsecret = "a secret of thirty-two characters"\n'
    config = config_of(tmp_path, [], text).with_value("server.host", "203.0.113.1", "--host")
    engine = Engine(config, {})
    with pytest.raises(CannotListen, match=r"203\.0\.113\.1:0.*assign.*--host"):
        await engine.start()
    await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_a_required_plugin_that_does_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    late = plugin("late", register_lifespan=lambda context: [raising_on_entry()])
    engine = engine_of(tmp_path, late, required=["late"])
    with pytest.raises(RequiredPluginFailed, match="'late' is required and did not start: RuntimeError: no luck today"):
        await engine.start()
    await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_a_start_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    reached = asyncio.Event()
    tasks = asyncio.all_tasks()
    engine = engine_of(tmp_path, plugin("slow", register_lifespan=lambda context: [never_ready(reached)]))
    starting = asyncio.ensure_future(engine.start())
    await reached.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_a_shared_resource_that_does_not_close_keeps_no_database_locked(tmp_path: Path) -> None:
    @asynccontextmanager
    async def client() -> AsyncIterator[str]:
        yield "client"
        raise RuntimeError("no luck today")

    tasks = asyncio.all_tasks()
    engine = engine_of(tmp_path)
    await engine.start()
    await engine.shared.of(client).get()
    await engine.stop(0)
    await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_a_stopped_engine_frees_its_port_and_stops_once(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    engine = engine_of(tmp_path)
    await engine.start()
    await engine.stop(0)
    await engine.stop(0)
    with socket.create_server(("127.0.0.1", engine.port)):
        await assert_nothing_is_left(engine, tmp_path, tasks)


async def test_two_engines_live_in_one_process(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    mine = plugin("mine", register_tools=refuse)
    async with running(folders[0], plugin("mine")) as one, running(folders[1], mine) as two:
        assert (one.features, two.features) == (("mine",), ())
        assert one.port != two.port
