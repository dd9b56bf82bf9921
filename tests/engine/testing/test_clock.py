"""Virtual time."""

import asyncio
import time

import pytest

from engine.testing import VirtualTimeLoop, virtual_time


def test_hours_pass_at_once_and_in_order() -> None:
    order: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 7200), sleeper("early", 3600))

    started = time.process_time()
    with virtual_time() as runner:
        runner.run(main())
    assert time.process_time() - started < 5
    assert [(name, round(at)) for name, at in order] == [("early", 3600), ("late", 7200)]


def test_time_stands_still_while_there_is_work() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    with virtual_time() as runner:
        assert runner.run(main()) == 0


def test_timeouts_are_kept() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx(60)


def test_sockets_and_threads_work_on_it() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def main() -> tuple[bytes, str]:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"over a socket\n")
            line = await reader.readline()
            writer.close()
        return line, await asyncio.to_thread(lambda: "from a thread")

    with virtual_time() as runner:
        assert isinstance(runner.get_loop(), VirtualTimeLoop)
        assert runner.run(main()) == (b"over a socket\n", "from a thread")
