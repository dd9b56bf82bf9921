"""Keeps the local model's server process running, and tells callers where it is."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import structlog

from engine.api.errors import ModelUnavailable
from plugins.local.child import Order, Report
from plugins.local.model_file import chat_template, find_model_file
from plugins.local.process import LlamaProcess
from plugins.local.settings import LocalSettings

log = structlog.get_logger(__name__)

LIBRARY = "xllamacpp"
STOP_GRACE = 3.0

Stage: TypeAlias = Literal["loading", "ready", "restarting", "failed"]
OnStatus: TypeAlias = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model answers, in OpenAI's dialect. Both parts change with every restart."""

    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """How the server is, and a phrase for people that says why. `retry_after` is in seconds, when it is worth it."""

    stage: Stage
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Restarts:
    """When a child that has ended is started again; times in seconds.

    Each end in a row doubles the delay. The `limit`th is a failure, which is told to callers for `cool_down` before the
    next attempt. A child that was up for `steady` seconds starts a new row.
    """

    delay: float = 0.25
    longest_delay: float = 5.0
    limit: int = 5
    cool_down: float = 60.0
    steady: float = 60.0

    def delay_after(self, ends: int) -> float:
        """The pause before the next attempt, after so many ends in a row."""
        return min(self.delay * 2.0 ** (ends - 1), self.longest_delay)


class LlamaServer:
    """The model's server: a child process that is started again when it ends.

    Belongs to the event loop that started it. Nothing here raises for a missing file or library before `ready`, so a
    server without a model still starts.
    """

    def __init__(self, settings: LocalSettings, restarts: Restarts | None = None) -> None:
        self._settings = settings
        self._restarts = restarts or Restarts()
        self._state = State("failed", "The local model is not started.")
        self._changed = asyncio.Event()
        self._endpoint: Endpoint | None = None
        self._process: LlamaProcess | None = None
        self._ready_since: float | None = None
        self._note = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """How the server is now."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Begin to load the model and return at once; does nothing when that has been done."""
        if self._task is None:
            self._become(State("loading", "looking for the model"))
            self._task = asyncio.create_task(self._supervise(), name="local_model")
            # A task cancelled before its first step never enters a `finally` of its own.
            self._task.add_done_callback(self._stopped)

    async def ready(self, on_status: OnStatus | None = None) -> Endpoint:
        """Wait until the model answers, also across restarts, and return where.

        `on_status` gets stage and detail of the state that is waited on, and of each that follows. Raises
        `ModelUnavailable` with the reason when the server is not started, cannot start, or ended too often.
        """
        while self._endpoint is None:
            state = self._state
            if state.stage == "failed":
                raise ModelUnavailable(
                    state.detail, retryable=state.retry_after is not None, retry_after=state.retry_after
                )
            if on_status:
                on_status(state.stage, state.detail)
            await self.changed()
        return self._endpoint

    async def changed(self) -> State:
        """Wait for the next change of state and return the state of then."""
        await self._changed.wait()
        return self._state

    async def aclose(self) -> None:
        """Stop the child and reap it; who waits in `ready` gets `ModelUnavailable`. `start` may follow."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("local_model_supervisor_failed", exc_info=task.exception())
        self._become(State("failed", "The local model is stopped."))

    async def _supervise(self) -> None:
        ends = 0
        while True:
            self._ready_since = None
            try:
                reason = await self._run()
            except ModelUnavailable as error:
                await self._fail(State("failed", error.message))
                continue
            ends = 1 if self._was_steady() else ends + 1
            await self._recover(reason, ends)

    def _was_steady(self) -> bool:
        return self._ready_since is not None and _now() - self._ready_since >= self._restarts.steady

    async def _recover(self, reason: str, ends: int) -> None:
        if ends >= self._restarts.limit:
            times = "once" if ends == 1 else f"{ends} times in a row"
            detail = f"The local model ended {times} ({reason})."
            await self._fail(State("failed", detail, retry_after=self._restarts.cool_down))
            return
        log.warning("local_model_ended", reason=reason, ends_in_a_row=ends)
        self._become(State("restarting", f"The local model ended ({reason})."))
        await asyncio.sleep(self._restarts.delay_after(ends))

    async def _fail(self, state: State) -> None:
        """Tell callers and, once, the log; return when it is time for the next attempt."""
        if state.detail != self._state.detail:
            log.error("local_model_failed", reason=state.detail)
        self._become(state)
        await asyncio.sleep(self._restarts.cool_down)

    async def _run(self) -> str:
        """Run one child to its end and return how that came; raises `ModelUnavailable` when there is nothing to run."""
        require_library(LIBRARY)
        model = await asyncio.to_thread(find_model_file, self._settings)
        if await asyncio.to_thread(chat_template, model) is None:
            self._note = "its file has no chat template, so that it is asked in the form of ChatML"
            log.warning("local_model_has_no_template", model=str(model), note=self._note)
        order = self._order(model)
        try:
            process = self._process = await LlamaProcess.spawn(order)
        except OSError as error:
            return f"its process cannot be started: {error.strerror}"
        try:
            async for report in process.reports():
                self._heed(report, order)
            self._become(State("restarting", "The local model ends."))
            return await process.ended()
        finally:
            self._process = None
            await process.stop(STOP_GRACE)

    def _heed(self, report: Report, order: Order) -> None:
        if report["stage"] == "loading":
            self._become(State("loading", report["detail"]))
            return
        self._ready_since = _now()
        log.info("local_model_ready", model=order["alias"])
        detail = f"{order['alias']}; {self._note}" if self._note else order["alias"]
        self._become(State("ready", detail), Endpoint(f"{report['detail']}/v1", order["api_key"]))

    def _order(self, model: Path) -> Order:
        return {
            "parent": os.getpid(),
            "api_key": secrets.token_urlsafe(32),
            "model": str(model),
            "alias": model.stem,
            "context": self._settings.context,
            "parallel": self._settings.parallel,
            "threads": self._settings.threads or default_threads(),
        }

    def _become(self, state: State, endpoint: Endpoint | None = None) -> None:
        self._state, self._endpoint = state, endpoint
        self._changed.set()
        self._changed = asyncio.Event()


def default_threads() -> int:
    """One per processor that this process may use, less one.

    llama.cpp's threads wait for each other by spinning: with none spare, any other work makes it ten times slower.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable - 1)


def require_library(name: str) -> None:
    """Raise `ModelUnavailable` with what to install when the library `name` is not there; it is not imported."""
    if importlib.util.find_spec(name) is None:
        raise ModelUnavailable(
            f"The local model needs the library {name}. Install it with `pip install 'betterai-engine[local]'`."
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
