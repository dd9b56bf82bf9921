"""A child ends with its parent, however that ends, and can always be stopped."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from plugins.local.child import Order
from plugins.local.process import PROGRAM, LlamaProcess

TREE = PROGRAM.parents[2]
PARENT = """
import asyncio, sys
from pathlib import Path
from plugins.local.settings import LocalSettings
from plugins.local.supervisor import LlamaServer

async def main():
    server = LlamaServer(LocalSettings(model_path=Path(sys.argv[1]), context=512))
    server.start()
    await server.ready()
    sys.stdout.write(f"{server.pid}\\n")
    sys.stdout.flush()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def order(model: Path) -> Order:
    return {
        "parent": os.getpid(),
        "api_key": "secret",
        "model": str(model),
        "alias": model.stem,
        "context": 512,
        "parallel": 1,
        "threads": 1,
    }


@pytest.fixture
async def process(order: Order) -> AsyncIterator[LlamaProcess]:
    process = await LlamaProcess.spawn(order)
    yield process
    await process.stop(grace=5)


async def _until_ready(process: LlamaProcess) -> str:
    async for report in process.reports():
        if report["stage"] == "ready":
            return report["detail"]
    raise AssertionError(await process.ended())


async def test_it_says_that_it_loads_and_then_where_it_listens(process: LlamaProcess) -> None:
    stages = []
    async for report in process.reports():
        stages.append(report["stage"])
        if report["stage"] == "ready":
            break
    assert stages == ["loading", "ready"]


async def test_it_yields_the_processor_to_the_server_and_hides_its_key(process: LlamaProcess) -> None:
    await _until_ready(process)
    child = psutil.Process(process.pid)
    assert child.nice() > psutil.Process().nice()
    assert "secret" not in " ".join([*child.cmdline(), *child.environ().values()])


async def test_it_listens_on_loopback_only(process: LlamaProcess) -> None:
    await _until_ready(process)
    listening = [c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


@pytest.fixture
async def deaf() -> LlamaProcess:
    """A process that ignores requests to end."""
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); signal.pause()"
    pipe = asyncio.subprocess.PIPE
    process = LlamaProcess(
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe, stderr=pipe)
    )
    async for _ in process.reports():
        break
    return process


async def test_a_child_that_does_not_heed_is_stopped_by_force(deaf: LlamaProcess) -> None:
    await deaf.stop(grace=0.05)
    assert await deaf.ended() == "killed by SIGKILL"
    assert not psutil.pid_exists(deaf.pid)


async def test_a_cancelled_stop_still_kills(deaf: LlamaProcess) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await deaf.stop(grace=600)
    assert await deaf.ended() == "killed by SIGKILL"
    assert not psutil.pid_exists(deaf.pid)


async def test_its_last_words_tell_why_it_ended(order: Order) -> None:
    process = await LlamaProcess.spawn({**order, "model": "/no/such/model.gguf"})
    try:
        assert "exit status 1" in await process.ended()
        assert "/no/such/model.gguf" in await process.ended()
    finally:
        await process.stop(grace=1)


async def test_the_end_of_its_input_ends_it(order: Order) -> None:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-P", str(PROGRAM), stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(order).encode() + b"\n")
    while b'"ready"' not in await child.stdout.readline():
        pass
    child.stdin.close()
    assert await child.wait() == 0


@pytest.fixture
async def parent(model: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of its own that keeps a model's server, and prints the child's process id after its log lines."""
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(model), stdout=pipe, cwd=TREE)
    yield parent
    if parent.returncode is None:
        parent.kill()
        await parent.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file descriptor of a process that is no child")
async def test_it_dies_with_a_server_that_is_killed(parent: asyncio.subprocess.Process) -> None:
    assert parent.stdout is not None
    said = b""
    async for said in parent.stdout:
        if said.strip().isdigit():
            break
    orphan = os.pidfd_open(int(said))
    dead = asyncio.Event()
    asyncio.get_running_loop().add_reader(orphan, dead.set)
    parent.kill()
    await parent.wait()
    await dead.wait()
    asyncio.get_running_loop().remove_reader(orphan)
    os.close(orphan)
