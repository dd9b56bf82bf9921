"""The model's server comes up, comes back, and is gone when it should be."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from engine.api.errors import ModelUnavailable
from plugins.local.settings import LocalSettings
from plugins.local.supervisor import LlamaServer, Restarts, default_threads, require_library


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file that looks like a model and is none."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(64))
    return path


async def test_start_returns_at_once_and_ready_waits_for_the_model(server: LlamaServer) -> None:
    before = server.state
    seen: list[tuple[str, str]] = []
    endpoint = await server.ready(lambda *status: seen.append(status))
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert (before.stage, server.state.stage) == ("loading", "ready")
    assert {stage for stage, _ in seen} == {"loading"}
    assert any("SmolLM2" in detail for _, detail in seen)


async def test_every_waiter_gets_the_same_endpoint(server: LlamaServer) -> None:
    first, second = await asyncio.gather(server.ready(), server.ready())
    assert first is second


async def test_an_endpoint_does_not_show_its_key(server: LlamaServer) -> None:
    endpoint = await server.ready()
    assert endpoint.api_key not in repr(endpoint)


async def test_a_killed_child_is_replaced_and_waiters_get_the_new_one(server: LlamaServer) -> None:
    before, killed = await server.ready(), server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await server.changed()
    seen: list[tuple[str, str]] = []
    after = await server.ready(lambda *status: seen.append(status))
    assert after.api_key != before.api_key
    assert server.pid != killed
    assert ("restarting", "The local model ended (killed by SIGKILL).") in seen
    assert not psutil.pid_exists(killed)


async def test_a_child_that_ends_too_often_is_a_failure_that_says_why(model: Path, broken: Path) -> None:
    async with aclosing(LlamaServer(LocalSettings(model_path=broken), Restarts(delay=0, limit=2))) as server:
        server.start()
        with pytest.raises(
            ModelUnavailable, match=r"ended 2 times in a row \(exit status 1: .*broken\.gguf"
        ) as failure:
            await server.ready()
        assert failure.value.retryable
        assert failure.value.retry_after == 60
        assert server.state.stage == "failed"


async def test_a_file_that_appears_is_loaded_after_the_pause(model: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.gguf"
    async with aclosing(LlamaServer(LocalSettings(model_path=late, context=512), Restarts(cool_down=0.05))) as server:
        server.start()
        with pytest.raises(ModelUnavailable, match=r"late\.gguf") as failure:
            await server.ready()
        assert not failure.value.retryable
        late.symlink_to(model)
        while server.state.stage == "failed":
            await server.changed()
        await server.ready()


async def test_before_the_start_ready_refuses(model: Path) -> None:
    with pytest.raises(ModelUnavailable, match="not started"):
        await LlamaServer(LocalSettings()).ready()


def test_a_missing_library_names_the_extra() -> None:
    with pytest.raises(ModelUnavailable, match=r"no_such_library.*betterai-engine\[local\]"):
        require_library("no_such_library")


async def test_closing_leaves_no_process_behind(server: LlamaServer) -> None:
    await server.ready()
    pid = server.pid
    assert pid is not None
    await server.aclose()
    assert not psutil.pid_exists(pid)
    assert server.state.stage == "failed"


async def test_closing_while_it_loads_ends_the_wait(server: LlamaServer) -> None:
    loading = asyncio.Event()
    waiter = asyncio.create_task(server.ready(lambda stage, detail: loading.set() if "Smol" in detail else None))
    await loading.wait()
    pid = server.pid
    assert pid is not None
    await server.aclose()
    with pytest.raises(ModelUnavailable, match="stopped"):
        await waiter
    assert not psutil.pid_exists(pid)


async def test_closing_before_the_first_step_ends_the_wait(model: Path) -> None:
    server = LlamaServer(LocalSettings(model_path=model))
    server.start()
    await server.aclose()
    with pytest.raises(ModelUnavailable, match="stopped"):
        await server.ready()


async def test_it_can_be_started_again_after_closing(server: LlamaServer) -> None:
    await server.ready()
    await server.aclose()
    server.start()
    await server.ready()


def test_a_processor_is_left_to_the_server() -> None:
    assert default_threads() == max(1, len(psutil.Process().cpu_affinity() or [0]) - 1)


def test_delays_double_up_to_a_bound() -> None:
    restarts = Restarts(delay=1, longest_delay=5)
    assert [restarts.delay_after(ends) for ends in (1, 2, 3, 4, 400)] == [1, 2, 4, 5, 5]
