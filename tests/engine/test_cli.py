"""The `betterai` command as a person runs it: a process, its words and its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
from typer.main import get_group

from engine.cli import app
from engine.loader.find import installed_plugins
from tests.databases import mysql_url
from tests.server import PROGRAM, ROOT, RunningServer, Settings, environment, serving

__all__ = ("mysql_url",)

CHAT = {"plugins.enabled": ["chat"]}
NOBODY = {"server.port": 9}
"""An address where no server answers."""
COLOUR = re.compile(r"\x1b\[")


def run(
    folder: Path, *arguments: str, settings: Settings | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder; whatever happens, it shows no traceback and, into a pipe, no colour."""
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    env = {**known, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment(settings or {}), **environ}
    done = subprocess.run(
        [str(PROGRAM), *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert not COLOUR.search(done.stderr + done.stdout)
    return done


def file(folder: Path, text: str) -> Path:
    """A configuration file where the program looks for one."""
    path = folder / "config" / "betterai.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def upgraded(folder: Path) -> None:
    """Make the database that a program without settings looks for."""
    assert run(folder, "db", "upgrade", settings=CHAT).returncode == 0


def install_plugin(folder: Path, source: str) -> str:
    """Install a plugin `acme` of one file; gives what PYTHONPATH has to name."""
    info = folder / "packages" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[betterai.plugins]\nacme = acme_plugin:Acme\n")
    (folder / "packages" / "acme_plugin.py").write_text(source)
    return os.pathsep.join((str(ROOT), str(folder / "packages")))


def broken_plugin(folder: Path) -> str:
    """As above, with a plugin whose import fails."""
    return install_plugin(folder, "import acme_sdk\n")


HANGING = """
import asyncio, contextlib, sys
from engine.api import Plugin, hookimpl

@contextlib.asynccontextmanager
async def never_ready():
    print('{"event": "acme_opens"}', file=sys.stderr, flush=True)
    await asyncio.Event().wait()
    yield

class Acme(Plugin):
    name = "acme"

    @hookimpl
    def register_lifespan(self, context):
        return [never_ready()]
"""


# Help and version


def test_help_lists_the_commands_of_plugins_beside_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    listed = set(re.findall(r"^\W*(\w+)  ", done.stdout, re.MULTILINE))
    assert {"serve", "check", "plugins", "models", "keys", "db", "version", "chat"} <= listed


def test_a_command_of_a_plugin_that_is_off_says_which_plugin_has_it_and_how_to_switch_it_on(tmp_path: Path) -> None:
    file(tmp_path, "[plugins]\nenabled = ['storage']\n")
    done = run(tmp_path, "speak", "hello", "-o", "hello.wav")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'speak': the plugin 'tts' has it, and is not in [plugins] enabled (" in done.stderr
    assert "config/betterai.toml:2" in done.stderr
    assert "`betterai plugins enable tts --persist`" in done.stderr


def test_a_plugin_that_the_environment_leaves_out_is_not_to_be_switched_on_by_a_command(tmp_path: Path) -> None:
    done = run(tmp_path, "speak", "hello", "-o", "hello.wav", settings=CHAT)
    assert "(environment variable BETTERAI__PLUGINS__ENABLED). Add it there.\n" in done.stderr
    assert "--persist" not in done.stderr


def every_command() -> list[Any]:
    """The commands of the program and of each plugin, and those below them."""
    program = typer.Typer()
    for found in installed_plugins().values():
        plugin: Any = found.load()
        if hasattr(plugin, "register_cli"):
            plugin().register_cli(program)
    commands: list[Any] = [*get_group(app).commands.values(), *get_group(program).commands.values()]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
    return commands


def test_each_command_that_asks_a_server_names_it_by_the_same_options() -> None:
    asking = {}
    for command in every_command():
        options = {option: param for param in command.params for option in param.opts}
        if "--key" in options:
            asking[command.name] = {name for name in options if name in ("--server", "--key")}
            assert "--url" not in options or options["--url"].hidden
    assert {"chat", "speak", "transcribe", "talk", "models", "plugins", "enable", "disable", "top"} == asking.keys()
    assert all(options == {"--server", "--key"} for options in asking.values())


def test_no_help_text_holds_what_a_terminal_takes_for_markup() -> None:
    texts: list[str] = []
    for command in every_command():
        texts += [command.help or "", *(getattr(param, "help", None) or "" for param in command.params)]
    assert len(texts) > 100
    assert [text for text in texts if re.search(r"\[[a-z]", text)] == []


def test_a_command_of_a_plugin_whose_configuration_cannot_be_used_says_what_is_wrong(tmp_path: Path) -> None:
    file(tmp_path, "[server]\nport = 'http'\n")
    done = run(tmp_path, "chat", "hello")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'chat': the plugin 'chat' has it, and the configuration cannot be used" in done.stderr
    assert "server.port (config/betterai.toml:2)" in done.stderr


def test_a_command_that_bears_the_name_of_a_plugin_that_failed_says_why_it_failed(tmp_path: Path) -> None:
    done = run(tmp_path, "acme", settings={"plugins.enabled": ["acme"]}, PYTHONPATH=broken_plugin(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'acme': the plugin 'acme' cannot be loaded: ModuleNotFoundError" in done.stderr


def test_a_command_that_no_plugin_has_is_refused_as_ever(tmp_path: Path) -> None:
    done = run(tmp_path, "chatt", "hello", settings=CHAT)
    assert done.returncode == 2
    assert "No such command 'chatt'" in done.stderr
    assert "Did you mean 'chat'" in done.stderr


def test_version_is_one_word(tmp_path: Path) -> None:
    done = run(tmp_path, "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout)


# check


def test_check_says_ok_and_touches_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "check")
    assert (done.returncode, "databases and other servers were not asked" in done.stderr) == (0, True)
    assert done.stdout.endswith("ok\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 8080\n", "server.prot (config/betterai.toml:2): unknown key; did you mean server.port?"),
        ("[plugins]\nenabled = ['chatt']\n", "no plugin 'chatt' is installed"),
        ("[plugins.chat]\nmax_stesp = 3\n", "plugins.chat.max_stesp (config/betterai.toml:2): unknown key"),
        ("[vendors.opnai]\napi_key = 'k'\n", "did you mean vendors.openai?"),
        ("[server]\nhost = '0.0.0.0'\n", 'set auth.mode = "keys"'),
        ("[server]\ncors_origins = ['*']\n", "server.cors_origins (config/betterai.toml:2)"),
        ("[server\n", "config/betterai.toml"),
    ],
)
def test_check_names_what_is_wrong(text: str, told: str, tmp_path: Path) -> None:
    file(tmp_path, text)
    done = run(tmp_path, "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_serve_does_not_start_with_what_check_finds_wrong(tmp_path: Path) -> None:
    file(tmp_path, "[server]\nprot = 8080\n[sever]\nport = 8080\n")
    done = run(tmp_path, "serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert "server.prot (config/betterai.toml:2)" in done.stderr
    assert "sever (config/betterai.toml:3): unknown table" in done.stderr


def test_a_file_that_is_not_there_is_named_with_who_asked_for_it(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--config", "nowhere.toml")
    assert done.returncode == 2
    assert "--config: there is no file nowhere.toml" in done.stderr


def test_check_tells_of_a_plugin_that_is_off_and_of_models_that_do_not_answer(tmp_path: Path) -> None:
    path = broken_plugin(tmp_path)
    done = run(tmp_path, "check", settings={"plugins.enabled": ["acme"]}, PYTHONPATH=path)
    assert done.returncode == 1
    assert (
        "plugin acme is off: cannot be loaded: ModuleNotFoundError: No module named 'acme_sdk'; install" in done.stdout
    )
    assert "acme_plugin.py:1)\n" in done.stdout
    assert "models.default: 'local' belongs to the plugin 'local', which is off" in done.stdout
    assert done.stdout.endswith("the server would start, degraded\n")


def test_check_fails_where_a_required_plugin_is_off(tmp_path: Path) -> None:
    settings = {"plugins.enabled": ["acme"], "plugins.required": ["acme"]}
    done = run(tmp_path, "check", settings=settings, PYTHONPATH=broken_plugin(tmp_path))
    assert done.returncode == 2
    assert "plugin 'acme' is required and cannot be loaded" in done.stderr


# plugins and models


def test_plugins_says_what_is_on_from_where_with_which_hooks_and_why_one_is_off(tmp_path: Path) -> None:
    settings = {"plugins.enabled": ["chat", "acme"], "plugins.required": ["acme"], **NOBODY}
    done = run(tmp_path, "plugins", settings=settings, PYTHONPATH=broken_plugin(tmp_path))
    assert done.returncode == 0
    assert re.fullmatch(r"as the configuration says: no server answers at http://127.0.0.1:9: .+\n", done.stderr)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert re.fullmatch(r"chat +on", lines[1])
    assert lines[2].strip() == "from betterai-engine (plugins.chat.plugin:Chat)"
    assert re.fullmatch(r" +hooks: cli, .*commands.*, tables", lines[3])
    assert any(
        re.fullmatch(r"acme +off: cannot be loaded: ModuleNotFoundError: .*'acme_sdk'; .*acme_plugin.py:1\)", line)
        for line in lines
    )
    assert any(re.fullmatch(r"local +off: not in \[plugins\] enabled", line) for line in lines)


def test_plugins_of_a_server_that_was_named_and_is_away_are_not_those_of_the_file(tmp_path: Path) -> None:
    done = run(tmp_path, "plugins", "--server", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no server answers at http://127.0.0.1:9" in done.stderr


def test_plugins_offline_asks_no_server(tmp_path: Path) -> None:
    with serving(tmp_path, {"plugins.enabled": []}) as server:
        settings = {**CHAT, "server.port": server.port}
        offline = run(tmp_path, "plugins", "--offline", settings=settings)
        asked_server = run(tmp_path, "plugins", settings=settings)
    assert (offline.returncode, offline.stderr) == (0, "as the configuration says: no server was asked\n")
    assert re.search(r"^chat +on$", offline.stdout, re.MULTILINE)
    assert asked_server.stderr == f"as the server at {server.url} says\n"
    assert re.search(r"^chat +off: not in \[plugins\] enabled$", asked_server.stdout, re.MULTILINE)


def test_plugins_of_another_program_at_the_address_are_those_of_the_file(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        done = run(tmp_path, "plugins", settings={**CHAT, "server.port": other.server_port})
        other.shutdown()
    assert done.returncode == 0
    assert done.stderr.startswith("as the configuration says: ")
    assert f"http://127.0.0.1:{other.server_port}" in done.stderr


def test_plugins_of_a_server_in_keys_mode_need_a_key(tmp_path: Path) -> None:
    with serving(tmp_path, {**CHAT, "auth.mode": "keys"}) as server:
        key = run(tmp_path, "keys", "create", "me", "--scope", "admin").stdout.strip()
        less = run(tmp_path, "keys", "create", "she", "--scope", "chat").stdout.strip()
        without, by_option, by_variable, forbidden = (
            run(tmp_path, "plugins", settings={"server.port": server.port}),
            run(tmp_path, "plugins", "--key", key, settings={"server.port": server.port}),
            run(tmp_path, "plugins", settings={"server.port": server.port}, BETTERAI_KEY=key),
            run(tmp_path, "plugins", settings={"server.port": server.port}, BETTERAI_KEY=less),
        )
    assert (without.returncode, without.stdout) == (1, "")
    assert "with --key or BETTERAI_KEY" in without.stderr
    assert by_option.stdout == by_variable.stdout != ""
    assert (forbidden.returncode, forbidden.stdout) == (1, "")
    assert "needs a key with the scope 'admin'" in forbidden.stderr


def test_models_into_a_pipe_are_a_line_each_with_nothing_cut(tmp_path: Path) -> None:
    done = run(tmp_path, "models", settings={**CHAT, **NOBODY}, OPENAI_API_KEY="sk-test-0123456789")
    assert done.returncode == 0
    header, *lines = done.stdout.splitlines()
    assert header.split()[:3] == ["model", "vendor", "context"]
    rows = [line for line in lines if " openai " in line]
    assert rows
    assert all(re.match(r"\S+ +openai +([\d,]+|unknown) ", row) for row in rows)
    assert "…" not in done.stdout
    assert "default: local" in lines


@pytest.mark.parametrize("command", ["plugins", "models"])
def test_lists_fit_a_terminal_of_80_columns_without_a_cut_word(command: str, tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, command, OPENAI_API_KEY="sk-test-0123456789", **environment({**CHAT, **NOBODY}))
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown
    words = {word for line in lines for word in line.split()}
    assert ("json_schema" if command == "models" else "(plugins.openai_api.plugin:OpenAIApi)") in words


def on_terminal(folder: Path, command: str, **environ: str) -> str:
    """What the program shows on a terminal."""
    master, slave = os.openpty()
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**known, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", **environ}
    process = subprocess.Popen([str(PROGRAM), command], cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass  # a terminal whose last user has gone cannot be read
    finally:
        os.close(master)
    assert process.wait(60) == 0
    return shown.decode()


# serve


def test_a_person_at_a_terminal_is_told_where_to_look(tmp_path: Path) -> None:
    master, slave = os.openpty()
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**known, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment({**CHAT, "log.level": "critical"})}
    process = subprocess.Popen(
        [str(PROGRAM), "serve", "--port", "0"], cwd=tmp_path, env=env, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = b""
    try:
        while b"Ctrl-C" not in shown:
            shown += os.read(master, 65536)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    found = re.search(r"In a browser: +(http://127\.0\.0\.1:\d+)\r\n", shown.decode())
    assert found is not None
    assert f"betterai chat --server {found[1]}" in shown.decode()


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_refused(port: str, tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--port", port)
    assert done.returncode == 2
    assert "port" in done.stderr


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "serve", "--port", str(port), settings={**CHAT, "log.level": "critical"})
    assert done.returncode == 1
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{port}: .*in use.*--port\n", done.stderr)


def test_a_second_server_in_one_folder_names_the_first(tmp_path: Path) -> None:
    with serving(tmp_path, CHAT) as server:
        done = run(tmp_path, "serve", "--port", "0", settings=CHAT)
        assert done.returncode == 1
        assert f"is in use by process {server.pid}" in done.stderr
        assert "BETTERAI__DATABASES__DEFAULT" in done.stderr


def test_a_database_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a folder is due")
    done = run(tmp_path, "serve", "--port", "0", settings=CHAT)
    assert done.returncode == 1
    assert "databases.default" in done.stderr


def test_serve_ends_with_status_0_at_a_signal(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(tmp_path, CHAT) as server:
            os.kill(server.pid, number)
            assert server.wait() == 0
            assert server.logged("stopped")
            assert server.errors == []


def test_a_signal_ends_a_start_that_hangs(tmp_path: Path) -> None:
    path = install_plugin(tmp_path, HANGING)
    server = RunningServer(tmp_path, {"plugins.enabled": ["acme"]}, {"PYTHONPATH": path})
    server.launch()
    try:
        server.logged("acme_opens", 60)
        server.terminate()
        assert server.wait() == 0
        assert server.logged("stopped", during="start")
        assert server.errors == []
    finally:
        server.kill()


def test_the_check_names_a_plugin_that_goes_past_the_public_door_and_finds_no_fault(tmp_path: Path) -> None:
    inner = "from engine.bus.bus import Bus\n"
    source = f"from engine.api import Plugin\n{inner}\nclass Acme(Plugin):\n    name = 'acme'\n"
    path = install_plugin(tmp_path, source)
    done = run(tmp_path, "check", settings={"plugins.enabled": ["acme"]}, PYTHONPATH=path)
    (tmp_path / "packages" / "acme_plugin.py").write_text(source.replace(inner, ""))
    without = run(tmp_path, "check", settings={"plugins.enabled": ["acme"]}, PYTHONPATH=path)
    assert done.returncode == without.returncode
    assert "imports engine" not in without.stdout
    assert "plugin acme imports engine.bus.bus at" in done.stdout
    assert "acme_plugin.py:2; only engine.api and engine.wire stay as they are" in done.stdout


# keys


def asked(url: str, key: str) -> int:
    """The status that a server gives to a key."""
    request = urllib.request.Request(f"{url}/api/v1/streams", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_keys_are_made_listed_and_revoked_beside_a_running_server(tmp_path: Path) -> None:
    with serving(tmp_path, {**CHAT, "auth.mode": "keys"}) as server:
        made = run(tmp_path, "keys", "create", "for [tests]", "--scope", "chat", "--principal", "anna")
        assert made.returncode == 0
        key = made.stdout.strip()
        assert "\n" not in key
        assert key not in made.stderr
        assert asked(server.url, key) == 200

        listed = run(tmp_path, "keys", "list").stdout
        header, line = listed.splitlines()
        assert header.split() == ["id", "name", "principal", "scopes", "limits", "made", "revoked"]
        id = line.split()[0]
        assert re.fullmatch(rf"{id} +for \[tests\] +anna +chat +\S+", line)
        assert key not in listed

        assert run(tmp_path, "keys", "revoke", id).stdout == f"key {id} (for [tests]) is revoked\n"
        (line,) = run(tmp_path, "keys", "list").stdout.splitlines()[1:]
        assert re.fullmatch(rf"{id} +for \[tests\] +anna +chat +\S+ +\S+", line)


def test_keys_that_another_secret_made_void_are_named_with_what_to_do(tmp_path: Path) -> None:
    before, now = ({"auth.mode": "keys", "auth.secret": f"the secret of the tests {at}"} for at in (1, 2))
    upgraded(tmp_path)
    id = run(tmp_path, "keys", "create", "laptop", settings=before).stdout.split("_")[1]
    assert "void" not in run(tmp_path, "keys", "list", settings=before).stderr
    listed = run(tmp_path, "keys", "list", settings=now)
    assert len(listed.stdout.splitlines()) == 2
    assert f"1 of these keys are void ({id}): they were made under another auth.secret" in listed.stderr
    with serving(tmp_path, {**CHAT, **now}) as server:
        line = server.logged("api_keys_void", count=1)
        assert "set the former secret again" in line["remedy"]


def test_a_key_that_was_revoked_before_its_first_use_is_refused(tmp_path: Path) -> None:
    upgraded(tmp_path)
    made = run(tmp_path, "keys", "create", "short lived")
    key, id = made.stdout.strip(), made.stdout.split("_")[1]
    assert f"key {id} for short-lived; keep it" in made.stderr
    run(tmp_path, "keys", "revoke", id)
    with serving(tmp_path, {**CHAT, "auth.mode": "keys"}) as server:
        assert asked(server.url, key) == 401


def test_limits_of_a_key_are_changed_one_by_one_and_taken_away_with_0(tmp_path: Path) -> None:
    upgraded(tmp_path)
    made = run(tmp_path, "keys", "create", "bounded", "--tokens-per-minute", "1000", "--sockets", "2")
    id = made.stdout.strip().split("_")[1]
    assert "1000 tokens_per_minute, 2 sockets" in run(tmp_path, "keys", "list").stdout
    limited = run(tmp_path, "keys", "limit", id, "--sockets", "0", "--streams", "5")
    assert limited.stdout.endswith("1000 tokens_per_minute, 5 streams\n")
    freed = run(tmp_path, "keys", "limit", id, "--tokens-per-minute", "0", "--streams", "0")
    assert freed.stdout.endswith("no limits of its own\n")
    assert run(tmp_path, "keys", "limit", "abcdefgh2345", "--streams", "1").returncode == 1


def test_a_key_that_does_not_exist_cannot_be_revoked(tmp_path: Path) -> None:
    upgraded(tmp_path)
    done = run(tmp_path, "keys", "revoke", "nobody")
    assert done.returncode == 1
    assert "`betterai keys list` shows the ids" in done.stderr


def test_a_scope_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "keys", "create", "name", "--scope", "chatt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no scope 'chatt'; did you mean 'chat'? Known are admin, chat, metrics" in done.stderr
    assert not (tmp_path / "var").exists()


def test_a_key_for_which_no_scope_is_named_cannot_administer(tmp_path: Path) -> None:
    upgraded(tmp_path)
    run(tmp_path, "keys", "create", "name")
    run(tmp_path, "keys", "create", "root", "--scope", "*")
    (name, root) = run(tmp_path, "keys", "list").stdout.splitlines()[1:]
    assert ("admin" in name, "chat, metrics" in name or "chat metrics" in name, "*" in root) == (False, True, True)


# the server's address


@pytest.mark.parametrize(
    ("command", "arguments", "environ", "port"),
    [
        ("chat", [], {}, 9),
        ("speak", ["-o", "x.wav", "--url", "http://127.0.0.1:7"], {"BETTERAI_SERVER": "http://127.0.0.1:6"}, 7),
        ("top", [], {"BETTERAI_SERVER": "ws://127.0.0.1:6/ws"}, 6),
    ],
)
def test_every_command_finds_the_server_the_same_way(
    command: str, arguments: list[str], environ: dict[str, str], port: int, tmp_path: Path
) -> None:
    words = ["Hello"] if command != "top" else []
    settings = {"plugins.enabled": ["chat", "tts"], **NOBODY}
    done = run(tmp_path, command, *words, *arguments, settings=settings, **environ)
    assert done.returncode == 1
    assert f"//127.0.0.1:{port}" in done.stderr


# budgets


def test_a_budget_of_an_unknown_key_is_refused_and_of_an_unknown_principal_set_with_a_warning(tmp_path: Path) -> None:
    upgraded(tmp_path)
    refused = run(tmp_path, "budgets", "set", "key:abcd2345efgh", "--day", "5")
    doubtful = run(tmp_path, "budgets", "set", "principal:anna", "--day", "5")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no API key has this id; `betterai keys list` shows the ids" in refused.stderr
    assert (doubtful.returncode, doubtful.stdout) == (0, "principal:anna may spend up to 5 dollars a day\n")
    assert doubtful.stderr.endswith(
        "\nthe principal 'anna' has neither keys nor turns; the budget is set all the same\n"
    )
    single = run(tmp_path, "budgets", "set", "principal:anna", "--month", "1", "--day-tokens", "1")
    assert "up to 1 dollar a month" in single.stdout
    assert "up to 1 token a day" in single.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["keys", "create", "x"],
        ["keys", "list"],
        ["budgets", "set", "principal:x", "--day", "1"],
        ["budgets", "list"],
        ["usage"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_makes_no_database_where_none_is(command: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "var" / "betterai.db") in done.stderr
    assert all(
        word in done.stderr for word in ("--config", "BETTERAI_CONFIG", "`betterai db upgrade`", "`betterai serve`")
    )
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("command", [["keys", "create", "x"], ["budgets", "set", "principal:x", "--day", "1"]])
def test_what_was_written_to_is_named(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[databases]\ndefault = "sqlite+aiosqlite:///mine.db"\n')
    assert run(tmp_path, "db", "upgrade", "--config", "my.toml").returncode == 0
    done = run(tmp_path, *command, "--config", "my.toml")
    assert done.returncode == 0
    assert done.stderr.startswith(f"configuration: my.toml\ndefault: {tmp_path / 'mine.db'}\n")
    secret = f"secret: {tmp_path / 'var' / 'auth-secret'}"
    again = run(tmp_path, *command, "--config", "my.toml").stderr.splitlines()
    assert (f"{secret}, which is new" in done.stderr.splitlines(), secret in again) == (command[0] == "keys",) * 2


def test_the_version_is_an_option_too(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == run(tmp_path, "version").stdout


def test_the_key_alone_is_on_standard_output_even_where_another_file_is_broken(tmp_path: Path) -> None:
    file(tmp_path, "[broken\n")
    (tmp_path / "good.toml").write_text("")
    assert run(tmp_path, "db", "upgrade", "--config", "good.toml").returncode == 0
    made = run(tmp_path, "keys", "create", "name", "--config", "good.toml")
    assert made.returncode == 0
    assert len(made.stdout.split()) == 1


def test_keys_of_a_database_without_tables_ask_for_an_upgrade(tmp_path: Path, mysql_url: str) -> None:
    done = run(tmp_path, "keys", "list", settings={"databases.default": mysql_url})
    assert done.returncode == 1
    assert "run `betterai db upgrade`" in done.stderr


# db


def test_an_upgrade_says_what_it_did_and_then_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    first = run(tmp_path, "db", "upgrade", settings=CHAT)
    assert first.returncode == 0
    assert re.fullmatch(r"default: engine \S+( \S+)*\ndefault: chat \S+( \S+)*\n", first.stdout)
    assert run(tmp_path, "db", "upgrade", settings=CHAT).stdout == "default: nothing to do\n"


def test_an_upgrade_beside_a_running_server_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, CHAT) as server:
        done = run(tmp_path, "db", "upgrade", settings=CHAT)
        assert done.returncode == 1
        assert f"in use by process {server.pid}" in done.stderr


def test_an_environment_that_is_wrong_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "check", BETTERAI__SERVER__PORT=json.dumps("x"))
    assert done.returncode == 2
    assert "BETTERAI__SERVER__PORT" in done.stderr


@pytest.mark.parametrize("command", [["db", "upgrade"], ["keys", "create", "shop"], ["check"], ["serve"]])
def test_a_missing_driver_ends_every_command_alike(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as found\n"
        "spec = found.find_spec\n"
        "found.find_spec = lambda name, package=None: None if name == 'asyncmy' else spec(name, package)\n"
        "import sys\n"
        "sys.modules['asyncmy'] = None\n"
    )
    settings = {**CHAT, "databases.default": "mysql+asyncmy://root@127.0.0.1:1/none"}
    done = run(tmp_path, *command, settings=settings, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 2
    assert "pip install 'betterai-engine[mysql]'" in done.stderr


def test_check_asks_what_the_configuration_names_where_it_is_told_to(tmp_path: Path) -> None:
    away = {
        **CHAT,
        "databases.default": "mysql+asyncmy://root@127.0.0.1:1/none",
        "limits.redis": "redis://127.0.0.1:1/0",
        "tracing.endpoint": "http://127.0.0.1:1",
    }
    plain = run(tmp_path, "check", settings=away)
    asked = run(tmp_path, "check", "--connect", settings=away)
    assert "--connect asks them" in plain.stderr
    assert "databases.default" not in plain.stdout
    assert (asked.returncode, "not all that the configuration names" in asked.stderr) == (1, True)
    assert all(
        f"\n{setting}: " in asked.stdout for setting in ("databases.default", "limits.redis", "tracing.endpoint")
    )


def test_check_writes_nothing_where_it_asks(tmp_path: Path) -> None:
    database = tmp_path / "there.db"
    settings = {**CHAT, "databases.default": f"sqlite+aiosqlite:///{database}"}
    first = run(tmp_path, "check", "--connect", settings=settings)
    assert ("databases" in first.stdout + first.stderr, database.exists()) == (False, False)
    database.write_bytes(b"no database, but long enough to have a header of one hundred bytes" * 4)
    broken = run(tmp_path, "check", "--connect", settings=settings)
    assert broken.returncode == 1
    assert f"databases.default: {database} cannot be read: file is not a database" in broken.stdout
