"""Reading the configuration again: what changed is changed, and everything else goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from engine.api.errors import LimitExceeded
from engine.config import load
from engine.loader.find import given_plugins, installed_plugins
from engine.log import get_logger
from engine.main import Engine
from engine.switching import Refused
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say, ToolUse
from tests.engine.loader.kit import plugin, refuse
from tests.engine.slow_plugin import Slow
from tests.engine.test_switching import Thing, closed, standing
from tests.journeys.client import connected
from tests.server import behind

pytestmark = pytest.mark.asyncio(loop_scope="module")

Raising = plugin("raising", register_providers=refuse)
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


class File:
    """A configuration file that a test writes anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "betterai.toml"
        self._base = (
            f'[server]\nport = 0\ndrain = 0.05\n[log]\nlevel = "critical"\n'
            f'[databases]\ndefault = "sqlite+aiosqlite:///{folder}/betterai.db"\n'
        )

    def write(self, *plugins: str, more: str = "") -> None:
        names = ", ".join(f'"{name}"' for name in ("chat", *plugins))
        self.path.write_text(f"{self._base}[plugins]\nenabled = [{names}]\n{more}", encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@asynccontextmanager
async def running(file: File, vendor: OpenAIEmulator | None = None) -> AsyncIterator[Engine]:
    Slow.made.clear()
    chat = {name: found for name, found in installed_plugins().items() if name == "chat"}
    found = {**chat, **given_plugins(Slow, Thing, Raising)}
    engine = Engine(load(file.path, behind(vendor) if vendor is not None else {}), found)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(0)


def url(engine: Engine) -> str:
    return f"http://127.0.0.1:{engine.port}"


async def test_a_line_for_one_vendor_ends_no_turn_of_another(file: File) -> None:
    hold = Hold()
    file.write()
    async with OpenAIEmulator() as vendor, running(file, vendor) as engine, connected(url(engine)) as socket:
        vendor.script.append(Say(pieces=["one ", hold, "two"]))
        heard = await socket.chat("Go", model="openai/gpt-test")
        await socket.text_of(heard.stream, "one ")
        chat = engine.loader.parts["chat"].plugin
        file.write(
            more=f'[vendors.compatible.servers]\nlab = {{ base_url = "{vendor.base_url}", api_key = "sk-test-0123456789" }}\n'
        )
        change = await engine.reload()
        vendor.script.append(Say(pieces=["from the lab"]))
        lab = await socket.chat("Go", model="lab/any")
        await socket.end_of(lab.stream)
        hold.release()
        end = await socket.end_of(heard.stream)
        assert (change.started, change.stopped, change.renewed) == ((), (), ("chat",))
        assert engine.loader.parts["chat"].plugin is chat
    assert lab.text == "from the lab"
    assert (heard.text, end["status"], end["saved"]) == ("one two", "completed", True)


async def test_a_new_key_is_used_from_the_next_call_on(file: File) -> None:
    file.write(more='[vendors.openai]\napi_key = "sk-first-0123456789"\n')
    async with OpenAIEmulator() as vendor, running(file, vendor) as engine, connected(url(engine)) as socket:
        for key in ("first", "second"):
            file.write(more=f'[vendors.openai]\napi_key = "sk-{key}-0123456789"\n')
            await engine.reload()
            vendor.script.append(Say("Hello."))
            await socket.end_of((await socket.chat("Go", model="openai/gpt-test")).stream)
        assert [request.headers["Authorization"] for request in vendor.requests] == [
            "Bearer sk-first-0123456789",
            "Bearer sk-second-0123456789",
        ]


async def test_a_turn_of_a_plugin_that_is_replaced_runs_to_its_end(file: File) -> None:
    file.write("slow")
    async with running(file) as engine, connected(url(engine)) as socket:
        [first] = Slow.made
        heard = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(heard.stream, "tick ")
        file.write("slow", more='[plugins.slow]\nword = "tack"\n')
        change = await engine.reload()
        newer = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(newer.stream, "tack ")
        still_open = first.open
        for slow in Slow.made:
            assert slow.provider is not None
            slow.provider.go.set()
        ends = [await socket.end_of(each.stream) for each in (heard, newer)]
        await closed(engine)
        assert (change.started, change.stopped) == (("slow",), ("slow",))
        assert (heard.text, newer.text) == ("tick tock", "tack tock")
        assert [end["status"] for end in ends] == ["completed", "completed"]
        assert (still_open, first.open, standing(engine)["slow"]) == (True, False, "on")


async def test_a_plugin_that_is_switched_off_takes_its_replaced_selves_with_it(file: File) -> None:
    file.write("slow")
    async with running(file) as engine, connected(url(engine)) as socket:
        heard = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(heard.stream, "tick ")
        file.write("slow", more='[plugins.slow]\nword = "tack"\n')
        await engine.reload()
        await engine.plugins.switch("slow", False)
        end = await socket.end_of(heard.stream)
        await closed(engine)
    assert (end["status"], end["error"]["code"]) == ("failed", "feature_disabled")
    assert not any(slow.open for slow in Slow.made)


async def test_a_turn_gets_its_tool_results_when_chat_was_replaced_meanwhile(file: File) -> None:
    file.write()
    async with OpenAIEmulator() as vendor, running(file, vendor) as engine, connected(url(engine)) as socket:
        vendor.script += [Say(tool_calls=[ToolUse("call_1", "weather")]), Say("Mild.")]
        heard = await socket.chat("Weather?", model="openai/gpt-test", tools=[WEATHER])
        await socket.until(lambda: any(event["type"] == "tool.call" for event in heard.events), "the tool's call")
        file.write(more="[plugins.chat]\nmax_steps = 7\n")
        change = await engine.reload()
        answered = await socket.ask("tool.result", stream=heard.stream, call_id="call_1", output="18 °C")
        end = await socket.end_of(heard.stream)
    assert (change.stopped, answered["type"], end["status"], heard.text) == (
        ("chat",),
        "accepted",
        "completed",
        "Mild.",
    )


async def test_a_plugin_that_failed_is_in_nobodys_way(file: File) -> None:
    file.write("raising", "thing")
    async with running(file) as engine:
        before = standing(engine)
        off = await engine.plugins.switch("thing", False)
        on = await engine.plugins.switch("thing", True)
        file.write("raising")
        reloaded = await engine.reload()
        with pytest.raises(Refused, match="plugin 'raising' register_providers failed"):
            await engine.plugins.switch("raising", True)
        assert before == {"chat": "on", "raising": "failed", "slow": "off", "thing": "on"}
        assert (off.stopped, on.started, reloaded.stopped) == (("thing",), ("thing",), ("thing",))
        assert standing(engine)["raising"] == "failed"


async def test_a_plugin_that_fails_by_a_reload_refuses_it(file: File) -> None:
    file.write()
    async with running(file) as engine:
        file.write("raising")
        with pytest.raises(Refused, match="plugin 'raising' register_providers failed"):
            await engine.reload()
        assert standing(engine)["raising"] == "off"


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_as_it_was")
async def test_the_level_of_the_log_holds_at_once(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    file.write()
    async with running(file) as engine:
        text = file.path.read_text(encoding="utf-8")
        file.path.write_text(text.replace('"critical"', '"error"'), encoding="utf-8")
        change = await engine.reload()
        get_logger("test").warning("too_little")
        get_logger("test").error("enough")
    logged = capsys.readouterr().err
    assert change.restart == ()
    assert ("too_little" in logged, "enough" in logged) == (False, True)


async def test_limits_hold_at_once(file: File) -> None:
    file.write("slow")
    async with running(file) as engine, connected(url(engine)) as socket:
        file.write("slow", more="[limits]\nsession_streams = 1\nprincipal_sockets = 1\nrequests_per_minute = 3\n")
        change = await engine.reload()
        first = await socket.ask("chat.send", input="Go", model="slow/slow-1")
        second = await socket.ask("chat.send", input="Go", model="slow/slow-1")
        rest = [(await socket.ask("chat.send", input="Go", model="slow/slow-1"))["error"]["message"] for _ in range(2)]
        file.write("slow")
        await engine.reload()
        freed = await socket.ask("chat.send", input="Go", model="slow/slow-1")
    assert change.restart == ()
    assert (first["type"], second["error"]["code"], freed["type"]) == ("accepted", LimitExceeded.code, "accepted")
    assert "requests" in rest[-1]


async def test_a_conversation_stays_taken_when_chat_is_put_in_its_own_place(file: File) -> None:
    hold = Hold()
    file.write(more="[plugins.chat]\nmax_steps = 5\n")
    async with OpenAIEmulator() as vendor, running(file, vendor) as engine, connected(url(engine)) as socket:
        first = await socket.chat("Hi", model="openai/gpt-test")
        await socket.end_of(first.stream)
        conversation = next(event["conversation"] for event in first.events if event["type"] == "message.saved")
        vendor.script.append(Say(pieces=["one ", hold, "two"]))
        heard = await socket.chat("Go", model="openai/gpt-test", conversation=conversation)
        await socket.text_of(heard.stream, "one ")
        file.write(more="[plugins.chat]\nmax_steps = 6\n")
        change = await engine.reload()
        refused = await socket.ask("chat.send", input="And?", model="openai/gpt-test", conversation=conversation)
        hold.release()
        await socket.end_of(heard.stream)
        after = await socket.chat("And?", model="openai/gpt-test", conversation=conversation)
        await socket.end_of(after.stream)
    assert change.started == change.stopped == ("chat",)
    assert refused["error"]["code"] == "conflict"
    assert heard.stream in refused["error"]["message"]


KEYS = '[vendors.openai]\napi_key = "sk-one"\n[vendors.anthropic]\napi_key = "{0}"\n{1}'
CHAT_OF = (("chat", "openai"), ("chat", "anthropic"))


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        (KEYS.format("sk-other", ""), (True, False)),
        (KEYS.format("sk-one", "[plugins.chat]\nmax_steps = 3\n"), (True, True)),
        (KEYS.format("sk-one", "[models]\nretries = 7\n"), (True, True)),
        (KEYS.format("sk-one", "[models]\nbreaker_failures = 7\n"), (False, False)),
    ],
    ids=["another key of one vendor", "a setting of chat", "other retries", "other breakers"],
)
async def test_a_vendor_that_is_left_alone_stays_so_unless_its_own_settings_changed(
    file: File, more: str, kept: tuple[bool, bool]
) -> None:
    file.write(more=KEYS.format("sk-one", ""))
    async with running(file) as engine:
        before = engine.registry.breakers()
        for key in CHAT_OF:
            before[key].fail()
        file.write(more=more)
        await engine.reload()
        now = engine.registry.breakers()
    assert tuple(now[key].failures == 1 for key in CHAT_OF) == kept
