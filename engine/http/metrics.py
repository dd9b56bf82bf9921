"""`/metrics`: what the server has done and how it stands, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.api.packages import load_packages
from engine.api.routes import Answer, HttpRequest, Route
from engine.stats import Histogram, Stats

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the server stands at one moment."""

    version: str
    streams: int
    held_streams: int
    held_bytes: int
    sockets: int
    database_rows: Mapping[str, int]
    """Rows that wait for each database."""
    waiting_commands: int
    """Commands that wait in the fullest session."""
    reader_lag: int
    """Events that the reader who is furthest behind has not taken."""
    breakers: Mapping[tuple[str, str], bool]
    """By role and provider: whether it is left alone for now."""
    resident_bytes: int
    body_bytes: int
    """Of the bodies of requests that are in memory."""
    struck_out: Mapping[str, str]
    """Plugins that were switched off for blocking the event loop, and why."""


class Metrics:
    """The route, over the counts and a look at how the server stands."""

    def __init__(self, stats: Stats, standing: Callable[[], Standing]) -> None:
        self._stats = stats
        self._standing = standing

    def routes(self) -> list[Route]:
        """For who may read it: in keys mode a key with the scope `metrics`."""
        return [
            Route(
                method="GET",
                path="/metrics",
                handler=self.metrics,
                scope="metrics",
                summary="Counts and states for Prometheus.",
                tag="server",
            )
        ]

    async def metrics(self, request: HttpRequest[Any, Any]) -> Answer:
        # Loaded on first use: many servers are never asked.
        await load_packages("prometheus_client.core", extra="all")

        # As above.
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected([*_counted(self._stats), *_standing(self._standing())]))
        return Answer(generate_latest(registry), headers={"Cache-Control": "no-store"}, content_type=CONTENT_TYPE)


class _Collected:
    """Families that are made already, as the library's registry takes them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _counted(stats: Stats) -> Iterator[Metric]:
    yield _counter(
        "betterai_turns",
        "Turns that ended.",
        ("command", "model", "status", "reason"),
        stats.turns.items(),
    )
    yield _counter("betterai_tokens", "Tokens of ended turns.", ("model", "kind"), stats.tokens.items())
    yield _counter(
        "betterai_cost_dollars",
        "What ended turns cost, in US dollars.",
        ("model",),
        [((model,), float(cost)) for model, cost in stats.cost.items()],
    )
    yield _counter("betterai_events", "Events of ended turns.", (), [((), stats.events)])
    yield _histogram(
        "betterai_first_token_seconds", "From a turn's start to its first word.", "model", stats.first_token
    )
    yield _histogram("betterai_token_gap_seconds", "From one piece of an answer to the next.", None, {"": stats.gaps})
    yield _histogram(
        "betterai_added_seconds",
        "From a command to its model's first word, without the wait for the provider.",
        None,
        {"": stats.added},
    )
    yield _counter(
        "betterai_provider_errors",
        "Calls to providers that failed.",
        ("provider", "code"),
        stats.provider_errors.items(),
    )
    yield _histogram("betterai_turn_seconds", "From a turn's start to its end.", "command", stats.turn_seconds)
    yield _counter(
        "betterai_http_requests",
        "HTTP requests that were answered.",
        ("method", "route", "status"),
        [((method, route, str(status)), count) for (method, route, status), count in stats.requests.items()],
    )
    yield _histogram("betterai_http_request_seconds", "Until the answer was whole.", "route", stats.request_seconds)
    yield _counter("betterai_sockets_opened", "Sockets that were opened.", (), [((), stats.sessions)])
    yield _counter(
        "betterai_resumes",
        "Streams that a socket came back to, by whether all that was missed was still there.",
        ("recovered",),
        [(("true" if recovered else "false",), count) for recovered, count in stats.resumes.items()],
    )
    yield _counter("betterai_readers_detached", "Readers that fell too far behind.", (), [((), stats.detached)])
    yield _counter(
        "betterai_plugin_blocks",
        "Times that a plugin blocked the event loop for half a second or more.",
        ("plugin",),
        [((plugin,), count) for plugin, count in stats.blocks.items()],
    )
    yield _counter(
        "betterai_strangers",
        "Trouble with connections on which nobody is known: malformed_request, head_too_slow, "
        "stranger_dropped, chunks_too_small.",
        ("trouble",),
        [((kind,), count) for kind, count in stats.strangers.items()],
    )
    yield _histogram("betterai_loop_lag_seconds", "How late the event loop was.", None, {"": stats.loop_lag})


def _standing(now: Standing) -> Iterator[Metric]:
    yield _gauge("betterai_info", "The version.", ("version",), [((now.version,), 1)])
    yield _gauge(
        "betterai_plugin_struck_out",
        "1 for a plugin that was switched off because it blocked the event loop.",
        ("plugin",),
        [((plugin,), 1) for plugin in now.struck_out],
    )
    yield _gauge("betterai_streams", "Streams that run.", (), [((), now.streams)])
    yield _gauge("betterai_streams_held", "Ended streams that can be resumed.", (), [((), now.held_streams)])
    yield _gauge("betterai_streams_held_bytes", "Memory of these.", (), [((), now.held_bytes)])
    yield _gauge("betterai_sockets", "Sockets that are open.", (), [((), now.sockets)])
    yield _gauge(
        "betterai_commands_waiting", "Commands that wait in the fullest session.", (), [((), now.waiting_commands)]
    )
    yield _gauge(
        "betterai_reader_lag_events", "Events that the slowest reader has not taken.", (), [((), now.reader_lag)]
    )
    yield _gauge(
        "betterai_database_queue_rows",
        "Rows that wait for a database.",
        ("database",),
        [((name,), rows) for name, rows in now.database_rows.items()],
    )
    yield _gauge(
        "betterai_provider_open",
        "1 where a provider failed again and again and is left alone.",
        ("role", "provider"),
        [(names, float(is_open)) for names, is_open in now.breakers.items()],
    )
    yield _gauge("betterai_body_bytes", "Memory of the bodies of requests.", (), [((), now.body_bytes)])
    yield _gauge("betterai_resident_bytes", "Memory of the process.", (), [((), now.resident_bytes)])


Samples = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, help: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    # Imported where it is used, as above.
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, help, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, help: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    # Imported where it is used, as above.
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(name: str, help: str, label: str | None, found: Mapping[str, Histogram]) -> Metric:
    # Imported where it is used, as above.
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, help, labels=(label,) if label else ())
    for value, histogram in found.items():
        family.add_metric((value,) if label else (), buckets=histogram.buckets, sum_value=histogram.sum)
    return family
