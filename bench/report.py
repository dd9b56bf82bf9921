"""Rows of measurements into a Markdown table: medians over rounds, ratios to the floor of the same round.

python -m bench.report results.jsonl
"""

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.cases import BY_NAME, CASES, Case

FLOOR, DIRECT = "floor", "direct"
BUSY = 0.9
"""Share of their core above which upstream and load generator may be what is measured."""

DISTURBED = 0.3
"""Cores taken by other processes above which a measurement is marked."""

STREAM = ("chunks_per_s", "cpu_us", "added_ttft_p50_ms", "added_ttft_p99_ms", "latency_p50_ms", "latency_p99_ms")
REQUEST = ("answers_per_s", "cpu_us", "added_ttft_p50_ms", "ttft_p50_ms", "ttft_p99_ms")
LOADS = ("server_load", "tool_load", "rss_mib")
COLUMNS = {
    "startup": ("ready_s", "rss_mib"),
    "idle": ("sockets", "kib_per_socket", "cpu_us_per_connect", "connects_per_s", "idle_load", "rss_mib"),
    "vanish": ("vanished", "open_before", "upstream_closed_s", "idle_s", "rss_mib"),
}
COMPARED = ("cpu_us", "added_ttft_p50_ms", "added_ttft_p99_ms", "kib_per_socket", "cpu_us_per_connect")


class Row(msgspec.Struct):
    """One server in one case of one round."""

    server: str
    case: str
    round: int
    figures: dict[str, float]
    errors: dict[str, int] = {}


Cells = dict[tuple[str, str, int], Row]


def add_latency_over_direct(rows: Iterable[Row]) -> None:
    """Give each row what its server adds to the time to first token of the same traffic without a server."""
    cells = cells_of(rows)
    for row in cells.values():
        direct = cells.get((DIRECT, BY_NAME[row.case].direct, row.round))
        if direct is None or row.server == DIRECT:
            continue
        for name in ("ttft_p50_ms", "ttft_p99_ms"):
            if name in row.figures and name in direct.figures:
                row.figures[f"added_{name}"] = row.figures[name] - direct.figures[name]


def cells_of(rows: Iterable[Row]) -> Cells:
    return {(row.server, row.case, row.round): row for row in rows}


def columns_of(case: Case) -> tuple[str, ...]:
    if case.mode in COLUMNS:
        return COLUMNS[case.mode]
    return (*(REQUEST if case.traffic.chunks == 1 else STREAM), *LOADS)


def median_of(rows: Sequence[Row], name: str) -> float | None:
    values = [row.figures[name] for row in rows if name in row.figures]
    return statistics.median(values) if values else None


def ratio_to_floor(rows: Sequence[Row], cells: Cells, name: str) -> float | None:
    """The median over rounds of this server's figure by the floor's of the same round."""
    ratios = []
    for row in rows:
        floor = cells.get((FLOOR, row.case, row.round))
        if floor and name in row.figures and floor.figures.get(name, 0.0) > 0.0:
            ratios.append(row.figures[name] / floor.figures[name])
    return statistics.median(ratios) if ratios else None


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(rows: Sequence[Row], cells: Cells, name: str) -> str:
    ratio = ratio_to_floor(rows, cells, name) if name in COMPARED and rows[0].server not in (FLOOR, DIRECT) else None
    return shown(median_of(rows, name)) + (f" (**{ratio:.2f}x**)" if ratio is not None else "")


def table(case: Case, rows: Sequence[Row]) -> list[str]:
    cells, columns = cells_of(rows), columns_of(case)
    lines = [
        "",
        f"### {case.name}",
        "",
        "| " + " | ".join(("server", *columns, "errors", "rounds")) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for server in dict.fromkeys(row.server for row in rows):
        own = [row for row in rows if row.server == server]
        errors = sum(sum(row.errors.values()) for row in own)
        values = (server, *(cell(own, cells, name) for name in columns), str(errors), str(len(own)))
        lines.append("| " + " | ".join(values) + " |")
    return lines + notes(rows)


def notes(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        where = f"{row.server}, round {row.round}"
        lines += [f"* {where}: {count} x {reason}" for reason, count in list(row.errors.items())[:3]]
        if row.server != DIRECT and row.figures.get("tool_load", 0.0) > BUSY:
            lines.append(f"* {where}: upstream and load generator filled their core; read only the CPU figures")
        if (others := row.figures.get("others_load", 0.0)) > DISTURBED:
            lines.append(f"* {where}: other processes took {others:.2f} cores meanwhile")
    return ["", *lines] if lines else []


def markdown(rows: Sequence[Row]) -> str:
    add_latency_over_direct(rows)
    lines = [
        "Bold: ratio to the floor of the same round, median over rounds. `added_`: over the upstream asked directly."
    ]
    for case in CASES:
        if own := [row for row in rows if row.case == case.name]:
            lines += table(case, own)
    return "\n".join(lines)


def read_rows(path: Path) -> list[Row]:
    return msgspec.json.decode(b"[" + b",".join(path.read_bytes().splitlines()) + b"]", type=list[Row])


if __name__ == "__main__":
    print(markdown([row for name in sys.argv[1:] for row in read_rows(Path(name))]))
