"""What a benchmark needs of the operating system: start and stop a server, pin it, read its CPU time and memory."""

import http.client
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil


class StartError(Exception):
    """A server ended, or did not become ready in time; the text carries the end of its output."""


def cores() -> tuple[int, int]:
    """The server's core and the core of upstream and load generator; one and the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def raise_file_limit() -> None:
    """Thousands of sockets need more than the usual 1,024 files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def process_tree(pid: int) -> Iterator[psutil.Process]:
    try:
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its children so far."""
    total = 0.0
    for process in process_tree(pid):
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return total


def rss_mib(pid: int) -> float:
    total = 0
    for process in process_tree(pid):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def machine_seconds() -> float:
    """CPU time of everything on this machine so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def settle(pid: int, limit: float = 20.0) -> float:
    """Wait until a server is idle, so that work left by one case is not counted in the next; the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        before = cpu_seconds(pid)
        time.sleep(0.3)
        if cpu_seconds(pid) - before <= 0.02:
            break
    return time.monotonic() - began


class Server:
    """A server of its own process group on one core, its output kept in `log`, stopped at the block's end."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        port: int,
        core: int,
        log: Path,
        ready: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.port = port
        self._log = log
        self._ready = ready
        self._began = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._process.pid
        psutil.Process(self.pid).cpu_affinity([core])

    def wait_ready(self, limit: float = 60.0) -> float:
        """Seconds from the start of the process to its first 200 on the `ready` path; StartError if none comes."""
        while (waited := time.monotonic() - self._began) < limit:
            if self._process.poll() is not None:
                raise StartError(f"ended with code {self._process.returncode}: {self.output()}")
            if self._answers():
                return waited
            time.sleep(0.005)
        raise StartError(f"no 200 on {self._ready} within {limit:g} s: {self.output()}")

    def output(self, size: int = 1000) -> str:
        return self._log.read_text(errors="replace")[-size:].strip()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
