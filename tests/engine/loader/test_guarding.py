"""What a plugin's functions raise or return wrongly is its own, and ends nothing but the call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import structlog
from pydantic import field_validator

from engine.api.commands import Body, Call, Command, Request, Serve
from engine.api.plugin import Health, HealthCheck, Listener, SettingsTable
from engine.api.routes import Answer, HttpRequest, Route
from engine.api.streams import Writer
from engine.main import Engine
from tests.engine.loader.kit import get, health, plugin, running
from tests.journeys.client import Socket, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")


def exits(*arguments: Any) -> Any:
    raise SystemExit(3)


async def leaves(*arguments: Any) -> Any:
    raise SystemExit(3)


async def cancels(*arguments: Any) -> Any:
    raise asyncio.CancelledError


async def interrupts(*arguments: Any) -> Any:
    raise KeyboardInterrupt


async def closes(*arguments: Any) -> Any:
    raise GeneratorExit


class Checked(Body):
    """A body whose validation exits."""

    word: str = "fine"

    @field_validator("word")
    @classmethod
    def exit(cls, word: str) -> str:
        raise SystemExit(3)


async def wrong(*arguments: Any) -> Any:
    return ["nothing of the kind"]


async def unwritable(request: Any) -> Answer:
    return Answer(object())


async def serving_badly(request: Request[Any]) -> Serve:
    return Serve(leaves)


async def ends(request: Request[Any]) -> Serve:
    async def serve(stream: Writer) -> None:
        stream.text("done")

    return Serve(serve)


def calls(**functions: Callable[..., Any]) -> list[Any]:
    return [Call(name=f"bad.{name}", body=Body, handle=function) for name, function in functions.items()]


Bad = plugin(
    "bad",
    register_commands=lambda _: [
        *calls(exit=leaves, cancel=cancels, interrupt=interrupts, close=closes, wrong=wrong, plain=lambda request: {}),
        Call(name="bad.validate", body=Checked, handle=wrong),
        Command(name="bad.prepare", body=Body, prepare=leaves),
        Command(name="bad.unserved", body=Body, prepare=wrong),
        Command(name="bad.serve", body=Body, prepare=serving_badly),
        Command(name="bad.end", body=Body, prepare=ends),
    ],
    register_routes=lambda _: [
        Route(method="GET", path="/api/v1/bad/exit", handler=leaves, scope=None),
        Route(method="GET", path="/api/v1/bad/cancel", handler=cancels, scope=None),
        Route(method="GET", path="/api/v1/bad/interrupt", handler=interrupts, scope=None),
        Route(method="GET", path="/api/v1/bad/close", handler=closes, scope=None),
        Route(method="GET", path="/api/v1/bad/wrong", handler=wrong, scope=None),
        Route(method="GET", path="/api/v1/bad/unwritable", handler=unwritable, scope=None),
    ],
    register_health_checks=lambda _: [
        HealthCheck("exit", exits),
        HealthCheck("late", leaves),  # type: ignore[arg-type]
        HealthCheck("fine", lambda: Health("ok")),
    ],
    register_listeners=lambda _: [Listener(exits)],
)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged; it costs much to draw tracebacks for nobody."""
    with structlog.testing.capture_logs() as logged:
        yield logged


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    """One with the bad plugin on."""
    async with running(tmp_path_factory.mktemp("bad"), Bad) as engine:
        yield engine


async def refused(socket: Socket, name: str, **fields: Any) -> str:
    answer = await socket.ask(name, **fields)
    return str(answer["error"]["code"]) if answer["type"] == "rejected" else str(answer["type"])


async def test_a_command_that_exits_cancels_or_returns_wrongly_fails_alone(engine: Engine) -> None:
    async with connected(f"http://127.0.0.1:{engine.port}") as socket:
        codes = {
            name: await refused(socket, f"bad.{name}")
            for name in ("exit", "cancel", "interrupt", "close", "wrong", "plain", "prepare", "unserved")
        }
        codes["validate"] = await refused(socket, "bad.validate", word="x")
        started = await socket.ask("bad.serve")
        end = await socket.end_of(started["stream"])
        alive = await socket.ask("ping")
    assert codes == dict.fromkeys(codes, "internal")
    assert (end["status"], end["reason"], end["error"]["code"], alive["type"]) == (
        "failed",
        "internal",
        "internal",
        "pong",
    )


async def test_a_route_that_exits_cancels_or_returns_wrongly_answers_500(
    engine: Engine, logged: list[MutableMapping[str, Any]]
) -> None:
    names = ("exit", "cancel", "interrupt", "close", "wrong", "unwritable")
    answers = [await get(engine, f"/api/v1/bad/{name}") for name in names]
    assert [(status, body["code"]) for status, body in answers] == [(500, "internal")] * 6
    crashes = [line for line in logged if line["event"] == "request_crashed"]
    assert [Path(line["at"].rpartition(":")[0]).name for line in crashes] == ["test_guarding.py"] * 6
    assert crashes[-1]["at"] == f"{__file__}:{unwritable.__code__.co_firstlineno}"
    assert {line["plugin"] for line in crashes} == {"bad"}


async def test_a_health_check_that_exits_is_named_and_hides_no_other(engine: Engine) -> None:
    lines = await health(engine)
    assert lines["bad.exit"] == ("degraded", "the check itself failed: PluginExited")
    assert lines["bad.late"][0] == "degraded"
    assert lines["bad.fine"] == ("ok", "")


async def test_a_health_check_that_does_not_answer_is_waited_for_once(tmp_path: Path) -> None:
    answer = threading.Event()
    asked: list[None] = []

    def stuck() -> Health:
        asked.append(None)
        answer.wait()
        return Health("ok")

    patient = plugin("patient", register_health_checks=lambda _: [HealthCheck("stuck", stuck)])
    async with running(tmp_path, patient) as engine:
        first, second = await health(engine), await health(engine)
        times = len(asked)
        answer.set()
        async with asyncio.timeout(10):
            while (last := await health(engine))["patient.stuck"][0] != "ok":
                pass
    assert first["patient.stuck"] == second["patient.stuck"] == ("degraded", "the check did not answer within 0.3 s")
    assert times == 1
    assert last["status"][0] == "ready"


async def test_a_listener_that_exits_is_named_with_its_place(
    engine: Engine, logged: list[MutableMapping[str, Any]]
) -> None:
    async with connected(f"http://127.0.0.1:{engine.port}") as socket:
        started = await socket.ask("bad.end")
        end = await socket.end_of(started["stream"])
    [crash] = [line for line in logged if line["event"] == "listener_crashed"]
    assert (end["status"], crash["plugin"]) == ("completed", "bad")
    assert f"test_guarding.py:{exits.__code__.co_firstlineno + 1}" in crash["at"]


class ExitingSettings(SettingsTable):
    """Settings whose validation exits."""

    word: str = "fine"

    @field_validator("word")
    @classmethod
    def exit(cls, word: str) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("broken", "text", "words"),
    [
        (plugin("broken", register_providers=exits), "", "register_providers failed: SystemExit: 3"),
        (plugin("broken", settings=ExitingSettings), '[plugins.broken]\nword = "x"\n', "validation failed"),
        (plugin("broken", register_lifespan=lambda _: exits()), "", "did not start: SystemExit: 3"),
    ],
    ids=["hook", "settings", "lifespan hook"],
)
async def test_a_plugin_that_exits_at_its_start_is_off(tmp_path: Path, broken: Any, text: str, words: str) -> None:
    fine = plugin("fine")
    async with running(tmp_path, broken, fine, text=text) as engine:
        lines = await health(engine)
        assert engine.features == ("fine",)
    assert lines["broken"][0] == "degraded"
    assert words in lines["broken"][1]


async def test_what_a_client_leaves_is_cancelled_as_ever(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def waits(request: HttpRequest[Any, Any]) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    patient = plugin(
        "patient",
        register_routes=lambda _: [Route(method="GET", path="/api/v1/patient", handler=waits, scope=None)],
    )
    async with running(tmp_path, patient) as engine, aiohttp.ClientSession() as http:
        with pytest.raises(TimeoutError):
            await http.get(f"http://127.0.0.1:{engine.port}/api/v1/patient", timeout=aiohttp.ClientTimeout(total=0.2))
        async with asyncio.timeout(10):
            await cancelled.wait()
