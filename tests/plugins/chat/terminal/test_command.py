"""`betterai chat` as a real process, on a pseudo-terminal and through pipes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.chat.terminal.server import Peer, ScriptedServer

PROGRAM = """
import fcntl, sys, termios, typer
from plugins.chat.terminal import register
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
app = typer.Typer()
app.callback()(lambda: None)
register(app)
app(prog_name="betterai")
"""
ROOT = Path(__file__).parents[4]
COLUMNS = 100
CTRL_C, CTRL_D = b"\x03", b"\x04"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    return {**kept, "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": str(COLUMNS), **(extra or {})}


class Screen:
    """The other side of a pseudo-terminal: types, and sees what is printed."""

    def __init__(self, master: int, process: Process) -> None:
        self.process = process
        self._master = master
        self._seen = ""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def type(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    async def until(self, text: str) -> str:
        """Wait until the text is printed behind what was waited for before; gives all that was printed up to its end."""
        try:
            async with asyncio.timeout(20):
                while text not in self._seen:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} was not printed; there is {self._seen[-500:]!r}") from None
        before, _, self._seen = self._seen.partition(text)
        return before + text

    async def exit(self, nudge: str = "") -> int:
        """The exit code, once it has left; `nudge` is typed now and each second until then."""
        leaving = asyncio.ensure_future(self.process.wait())
        try:
            async with asyncio.timeout(20):
                while nudge and not leaving.done():
                    self.type(nudge)
                    await asyncio.wait((leaving,), timeout=1)
                return await leaving
        except TimeoutError:
            raise AssertionError(f"it did not leave; there is {self._seen[-500:]!r}") from None

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self._seen += data.decode(errors="replace")
        self._news.set()


@asynccontextmanager
async def on_terminal(url: str, *arguments: str) -> AsyncIterator[Screen]:
    master, slave = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "chat", "--server", url, *arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Screen(master, process)
    finally:
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def piped(
    arguments: Sequence[str], *, typed: bytes | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run without a terminal: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "chat", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env=environment(env),
    )
    try:
        async with asyncio.timeout(20):
            out, notes = await process.communicate(typed)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), notes.decode()


async def echo(peer: Peer) -> None:
    """Answer one turn with what was asked."""
    command = await peer.get("chat.send")
    await peer.accept(command)
    await peer.event(1, "status", stage="loading", detail="reading the model")
    await peer.text("You said: ", command["input"], n=2)
    await peer.event(4, "message.saved", conversation="v_1", message="m_2")
    await peer.end(5)


async def speak_until_cancelled(peer: Peer) -> None:
    await peer.accept(await peer.get("chat.send"))
    await peer.text("Once upon", n=1)
    await peer.accept(await peer.get("stream.cancel"))
    await peer.end(2, status="cancelled", reason="client_cancel")


async def test_a_prompt_gets_one_answer_that_pipes_clean() -> None:
    async with ScriptedServer(echo) as server:
        code, out, notes = await piped(["--server", server.url, "hi", "there"])
    assert (code, out) == (0, "You said: hi there\n")
    assert "parrot-1 · 12 in, 34 out · $0.000123 · " in notes
    assert "\x1b" not in out + notes


async def test_standard_input_is_the_prompt_where_none_is_given() -> None:
    async with ScriptedServer(echo) as server:
        code, out, _ = await piped(["--server", server.url], typed="grüß\n".encode())
    assert (code, out) == (0, "You said: grüß\n")


async def test_json_gives_every_event_as_a_line() -> None:
    async with ScriptedServer(echo) as server:
        code, out, notes = await piped(["--server", server.url, "--json", "hi"])
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["type"] for event in events] == [
        *("accepted", "status", "text.delta", "text.delta", "message.saved", "stream.ended")
    ]
    assert (code, notes) == (0, "")


async def test_address_and_key_come_from_the_environment_and_options_reach_the_server() -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(peer.headers.get("Authorization"))
        seen.append(command := await peer.get("chat.send"))
        await peer.accept(command)
        await peer.end(1)

    async with ScriptedServer(script) as server:
        env = {"BETTERAI_SERVER": server.url.replace("ws://", "http://").removesuffix("/ws"), "BETTERAI_KEY": "bai_k"}
        await piped(["--model", "m", "--instructions", "Be kind.", "--conversation", "v_9", "hi"], env=env)
    authorization, command = seen
    assert authorization == "Bearer bai_k"
    assert (command["model"], command["instructions"], command["conversation"]) == ("m", "Be kind.", "v_9")


async def test_where_no_server_is_the_exit_code_is_1_and_the_line_says_what_to_do() -> None:
    async with ScriptedServer() as server:
        url = server.url
    code, out, notes = await piped(["--server", url, "hi"])
    assert (code, out) == (1, "")
    assert (
        notes
        == f"no_server: no server at {url}; start one with `betterai serve`, or name another address with --server\n"
    )


async def test_a_failed_answer_gives_exit_code_1_and_one_line() -> None:
    async def script(peer: Peer) -> None:
        await peer.reject(await peer.get("chat.send"), "model_not_found", field="model")

    async with ScriptedServer(script) as server:
        code, out, notes = await piped(["--server", server.url, "--model", "nix", "hi"])
    assert (code, out) == (1, "")
    assert notes == "model_not_found [model]: because of model_not_found\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--server", "ftp://x", "hi"], "--server"),
        (["--url", "ws://x:y", "hi"], "--url"),
        ([" "], "PROMPT"),
        ([], "PROMPT"),
    ],
)
async def test_arguments_that_make_no_sense_are_named(arguments: list[str], told: str) -> None:
    code, _, notes = await piped(arguments, typed=b"")
    assert code == 2
    assert told in notes
    assert "Traceback" not in notes


async def test_an_answer_that_is_cut_off_goes_on_and_says_so() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        peer.cut()

    async def back(peer: Peer) -> None:
        command = await peer.get("stream.resume")
        await peer.accept(command, recovered=True)
        await peer.text("lo", n=2)
        await peer.end(3)

    async with ScriptedServer(cut, back) as server:
        code, out, notes = await piped(["--url", server.url, "hi"])
    assert code == 0
    assert out.replace("\n", "") == "Hello"
    assert notes.startswith("connection lost, coming back…\nresumed after 1\n")


async def test_a_conversation_goes_on_from_line_to_line_until_new() -> None:
    conversations: list[Any] = []

    async def script(peer: Peer) -> None:
        for _ in range(3):
            command = await peer.get("chat.send")
            conversations.append((command.get("conversation"), command.get("model")))
            await peer.accept(command)
            await peer.text(f"heard {command['input']}", n=1)
            await peer.event(2, "message.saved", conversation="v_1", message="m")
            await peer.end(3)

    async with ScriptedServer(script) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("one\n")
        await screen.until("heard one")
        await screen.until("> ")
        screen.type("/model parrot\n")
        await screen.until("model: parrot")
        screen.type("two\n")
        await screen.until("heard two")
        await screen.until("> ")
        screen.type("/new\n")
        await screen.until("a new conversation")
        screen.type("three\n")
        await screen.until("heard three")
        await screen.until("> ")
        screen.type("/quit\n")
        await screen.until("--conversation v_1")
        assert await screen.exit() == 0
    assert conversations == [(None, None), ("v_1", "parrot"), (None, "parrot")]


async def test_ctrl_c_stops_the_answer_and_stays_in_the_conversation() -> None:
    async def script(peer: Peer) -> None:
        await speak_until_cancelled(peer)
        await echo(peer)

    async with ScriptedServer(script) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("a story\n")
        await screen.until("Once upon")
        screen.type(CTRL_C)
        await screen.until("cancelled")
        await screen.until("> ")
        screen.type("hi\n")
        await screen.until("You said: hi")
        await screen.until("> ")
        screen.type(CTRL_D)
        assert await screen.exit() == 0


async def test_ctrl_c_at_the_prompt_leaves() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedServer(script) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type(CTRL_C)
        # Python notes a signal that comes between the prompt and the wait for keys only with the next line.
        assert await screen.exit(nudge="\n") == 0


async def test_ctrl_c_during_a_single_answer_cancels_it_and_fails() -> None:
    async with (
        ScriptedServer(speak_until_cancelled) as server,
        on_terminal(server.url, "a story") as screen,
    ):
        await screen.until("Once upon")
        screen.type(CTRL_C)
        await screen.until("cancelled")
        assert await screen.exit() == 1


async def test_a_second_ctrl_c_leaves_an_answer_whose_server_does_not_react() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Once upon", n=1)
        await peer.get("stream.cancel")
        await peer.text(" a time", n=2)

    async with ScriptedServer(deaf, echo) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("a story\n")
        await screen.until("Once upon")
        screen.type(CTRL_C)
        await screen.until(" a time")
        screen.type(CTRL_C)
        await screen.until("no longer waiting")
        await screen.until("> ")
        screen.type("hi\n")
        await screen.until("You said: hi")


async def test_ctrl_c_while_the_connection_is_lost_ends_the_waiting() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Once upon", n=1)
        peer.cut()

    async with ScriptedServer(cut) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("a story\n")
        await screen.until("connection lost, coming back…")
        screen.type(CTRL_C)
        await screen.until("no longer waiting")
        await screen.until("> ")
        screen.type(CTRL_D)
        assert await screen.exit() == 0


async def test_lines_typed_before_come_back_with_the_arrow_key() -> None:
    async def script(peer: Peer) -> None:
        await echo(peer)
        await echo(peer)

    async with ScriptedServer(script) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("again\n")
        await screen.until("You said: again")
        await screen.until("> ")
        screen.type(b"\x1b[A\n")
        await screen.until("You said: again")


async def test_help_shows_the_commands_and_what_is_no_command_is_said() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedServer(script) as server, on_terminal(server.url) as screen:
        await screen.until("> ")
        screen.type("/help\n")
        await screen.until("/quit        leave")
        screen.type("/nonsense\n")
        await screen.until("there is no command /nonsense")


async def test_a_talk_begins_with_the_server_and_the_model_that_answers() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    models = {
        "models": [{"id": "parrot-1", "aliases": ["parrot"], "description": "A bird of few words"}, {"id": "owl"}],
        "default": "parrot",
    }
    async with ScriptedServer(script, script, models=models) as server:
        async with on_terminal(server.url) as screen:
            shown = await screen.until("> ")
        async with on_terminal(server.url, "--model", "owl") as screen:
            other = await screen.until("> ")
    address = server.url.replace("ws://", "http://").removesuffix("/ws")
    assert f"BetterAI 0 at {address}" in shown
    assert "model parrot: A bird of few words" in shown
    assert "model owl\x1b" in other


async def test_a_server_that_names_no_models_is_talked_to_all_the_same() -> None:
    async with ScriptedServer(echo) as server, on_terminal(server.url) as screen:
        shown = await screen.until("> ")
        screen.type("hi\n")
        await screen.until("You said: hi")
    assert "model" not in shown


async def test_no_word_of_an_answer_is_cut_at_the_edge() -> None:
    words = [f"word{number}" for number in range(60)]

    async def script(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text(*(piece for word in words for piece in (word[:3], f"{word[3:]} ")), "end.", n=1)
        await peer.end(2 * len(words) + 2)

    async with ScriptedServer(script) as server, on_terminal(server.url, "many words") as screen:
        printed = await screen.until("end.")
        assert await screen.exit() == 0
    kept = re.sub(r"[^\x1b]*\x1b\[\d+D\x1b\[K", lambda taken: taken_off(taken[0]), printed)
    lines = [re.sub(r"\x1b\[\d*\w", "", line) for line in kept.splitlines() if "word" in line]
    assert [word for line in lines for word in re.findall(r"word\d+", line)] == words
    assert len(lines) > 3
    assert max(map(len, lines)) < COLUMNS


def taken_off(text: str) -> str:
    """What is left on the line once the cursor has gone back and cleared it."""
    shown, _, moved = text.partition("\x1b[")
    return shown[: -int(moved.partition("D")[0])]
