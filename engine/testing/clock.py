"""Time that passes only when nothing else is left to do, so that a test of minutes runs at once."""

import asyncio
import selectors
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when no callback and no file is ready.

    Meant for tests without real waits: an answer that is still on its way through a socket does not hold the clock. What
    is given to a thread is done at once, in the loop's own. A loop with no timer blocks as any other does.
    For all tests of a folder, in its `conftest.py`:

        def pytest_asyncio_loop_factories(config, item):
            return {"virtual": VirtualTimeLoop}
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._ahead

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def jump(self, seconds: float) -> None:
        """Move the clock forward; what falls due runs with the next turn of the loop."""
        self._ahead += seconds


@contextmanager
def virtual_time() -> Iterator[asyncio.Runner]:
    """A runner on virtual time, `with virtual_time() as runner: runner.run(main())`; its loop closes with the block."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield runner


class _JumpingSelector(selectors.BaseSelector):
    """Looks for ready files without waiting, and lets the clock do the waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._real.select(timeout)
        ready = self._real.select(0)
        if not ready:
            self._loop.jump(timeout)
        return ready

    def register(self, fileobj: "FileDescriptorLike", events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: "FileDescriptorLike", events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping["FileDescriptorLike", selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
