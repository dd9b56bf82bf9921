"""What the README tells to type works."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import sys

import pytest

from engine.main import Engine
from tests.docs.conftest import ANSWER
from tests.docs.pages import README, Block, blocks

PYTHON = blocks(README, "python")
CURL = [block for block in blocks(README, "sh") if block.text.startswith("curl")]


async def run(*command: str) -> str:
    """Standard output of a program that succeeds."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def at(server: Engine, text: str) -> str:
    """The text with the address of the server in the place of the one that everybody has."""
    assert "127.0.0.1:8080" in text
    return text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")


@pytest.mark.parametrize("command", ["make serve", "make test"])
def test_both_commands_stand_on_lines_of_their_own(command: str) -> None:
    assert command in README.read_text().splitlines()


def test_there_are_examples_in_python_and_for_curl() -> None:
    assert (len(PYTHON), len(CURL)) == (2, 2)


@pytest.mark.parametrize("block", PYTHON, ids=["openai", "websocket"])
async def test_a_python_example_prints_the_answer(block: Block, server: Engine) -> None:
    assert (await run(sys.executable, "-c", at(server, block.text))).strip() == ANSWER


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl_gets_json(server: Engine) -> None:
    answer = json.loads(await run(*shlex.split(at(server, CURL[0].text)), "--silent"))
    assert answer["text"] == ANSWER


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl_gets_events(server: Engine) -> None:
    events = await run(*shlex.split(at(server, CURL[1].text)), "--silent")
    frames = [json.loads(data) for data in re.findall(r"^data: (.*)$", events, re.M)]
    assert "".join(frame.get("text", "") for frame in frames) == ANSWER
    assert frames[-1]["type"] == "stream.ended"


def test_the_configuration_is_five_lines() -> None:
    (block,) = blocks(README, "toml")
    assert len(block.text.splitlines()) == 5
