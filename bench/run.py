"""The benchmark: the floor, the engine, and the upstream itself in turn, round after round, into one Markdown table.

python -m bench.run --quick
python -m bench.run --rounds 5 --keys --out results.jsonl

The server under test has the first core to itself; upstream and load generator share the second. A round measures
every server, one right after the other, in each case, so that all of a round see the same machine.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil

from bench import servers
from bench.cases import BY_NAME, CASES, QUICK, Case
from bench.load import Report
from bench.process import Server, StartError, cores, free_port, rss_mib, settle
from bench.report import DIRECT, Row, markdown
from bench.servers import Subject

ROOT = Path(__file__).parents[1]


class Bench:
    """One run: the upstream, where results go, and the rows so far."""

    def __init__(self, upstream: Server, server_core: int, out: Path | None) -> None:
        self.upstream, self.server_core, self.out = upstream, server_core, out
        self.rows: list[Row] = []

    def measure_direct(self, case: Case, turn: int) -> None:
        """The upstream without a server, where other servers' latency is compared with it."""
        if case.direct == case.name:
            report = self.load(case, self.upstream.pid, self.upstream.port, "floor", "bench")
            self.keep(Row(DIRECT, case.name, turn, report.figures, report.errors))

    def measure(self, subject: Subject, case: Case, turn: int) -> None:
        """A fresh process for every case, so that none pays for, or hides in, the memory of another."""
        with subject.start(self.server_core) as server:
            ready = server.wait_ready()
            if case.mode == "startup":
                self.keep(Row(subject.name, case.name, turn, {"ready_s": ready, "rss_mib": rss_mib(server.pid)}))
                return
            settle(server.pid)
            report = self.load(case, server.pid, subject.port, subject.dialect, subject.key)
            self.keep(Row(subject.name, case.name, turn, report.figures, report.errors))

    def load(self, case: Case, pid: int, port: int, dialect: str, key: str) -> Report:
        argv = [sys.executable, "-m", "bench.load", case.mode]
        argv += ["--port", str(port), "--pid", str(pid), "--dialect", dialect, "--key", key]
        argv += ["--traffic", case.traffic.name, "--clients", str(case.clients), "--sockets", str(case.clients)]
        argv += ["--seconds", str(case.seconds), "--warmup", str(case.warmup)]
        argv += ["--upstream-port", str(self.upstream.port)]
        if pid != self.upstream.pid:
            argv += ["--upstream-pid", str(self.upstream.pid)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no output"]
            return Report({}, {f"load generator: {last[0]}": 1})
        return msgspec.json.decode(done.stdout, type=Report)

    def keep(self, row: Row) -> None:
        self.rows.append(row)
        if self.out:
            with self.out.open("ab") as out:
                out.write(msgspec.json.encode(row) + b"\n")
        figures = "  ".join(f"{name}={value:.4g}" for name, value in row.figures.items())
        print(f"{row.round} {row.server} {row.case}: {figures} {row.errors or ''}", file=sys.stderr, flush=True)


def subjects(arguments: argparse.Namespace, scratch: Path, upstream: str) -> Iterator[Subject]:
    """What to measure, each with a directory of its own; an engine that is not there is named and left out."""

    def home(name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=name, dir=scratch))

    yield servers.floor(home("floor"), free_port(), upstream)
    if not arguments.engine.exists():
        print(f"engine: {arguments.engine} is not there; measuring without it", file=sys.stderr)
        return
    yield servers.engine(arguments.engine, home("engine"), free_port(), upstream)
    if arguments.keys:
        yield servers.engine_with_keys(arguments.engine, home("keys"), free_port(), upstream)


def run(arguments: argparse.Namespace, cases: Sequence[Case], scratch: Path) -> tuple[list[Row], list[str]]:
    """All rows, and what could not be started; a server that did not start once is not tried again."""
    port, (server_core, load_core) = free_port(), cores()
    psutil.Process().cpu_affinity([load_core])
    argv = (sys.executable, "-m", "bench.upstream", "--port", str(port))
    failures: list[str] = []
    with Server(argv, port=port, core=load_core, log=scratch / "upstream.log", ready="/stats", cwd=ROOT) as upstream:
        upstream.wait_ready()
        bench = Bench(upstream, server_core, arguments.out)
        measured = list(subjects(arguments, scratch, f"http://127.0.0.1:{port}/v1"))
        for turn, case in itertools.product(range(arguments.rounds), cases):
            bench.measure_direct(case, turn)
            for subject in tuple(measured):
                try:
                    bench.measure(subject, case, turn)
                except StartError as error:
                    failures.append(f"{subject.name}, {case.name}: {error}")
                    measured.remove(subject)
        return bench.rows, failures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(BY_NAME)
    parser.add_argument("--quick", action="store_true", help=f"one short round of {', '.join(QUICK)}: a look")
    parser.add_argument("--cases", type=lambda text: text.split(","), help=f"comma-separated, of {names}")
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    parser.add_argument("--keys", action="store_true", help="also the engine in auth mode keys")
    parser.add_argument("--engine", type=Path, default=Path(sys.executable).with_name("betterai"), help="its command")
    parser.add_argument("--out", type=Path, help="append every measurement to this file as one JSON line")
    arguments = parser.parse_args()
    arguments.engine = arguments.engine.absolute()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    chosen = arguments.cases or (QUICK if arguments.quick else [case.name for case in CASES])
    if unknown := [name for name in chosen if name not in BY_NAME]:
        parser.error(f"--cases: no case {unknown[0]!r}; there are {names}")
    arguments.cases = [case for case in CASES if case.name in chosen]
    return arguments


def main() -> None:
    arguments = parse()
    cases = [case.quick() if arguments.quick else case for case in arguments.cases]
    with tempfile.TemporaryDirectory(prefix="betterai-bench-") as scratch:
        rows, failures = run(arguments, cases, Path(scratch))
    print(markdown(rows))
    for failure in failures:
        print(f"\nNot measured: {failure}")
    if failures or any(row.errors for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
