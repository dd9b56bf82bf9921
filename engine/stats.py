"""What the server has done since its start, counted where it happens and told to whoever asks.

Counting is a dictionary entry or two at the end of a turn, a call or a request; nothing here is on the path of a token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from engine.api.events import StreamEnded

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets for durations."""

GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets for the gaps between pieces of an answer."""

SHARES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the buckets for what the server itself adds to a wait."""

LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the buckets for the event loop's lag."""

RECENT_LAGS = 240
"""Looks at the event loop that are kept one by one: those of the last minute."""

MOST_MODELS = 200
"""Models that are counted apart; names come from clients, who may make up any number of them. The rest are `other`."""


class Histogram:
    """How many values fell under each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each bound with the count of values up to it, the last without a bound."""
        total, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Stats:
    """The counts of one engine."""

    def __init__(self) -> None:
        self.turns: Counter[tuple[str, str, str, str]] = Counter()
        """By command, model, status and reason."""
        self.tokens: Counter[tuple[str, str]] = Counter()
        """By model and kind: input, output, cached, reasoning."""
        self.cost: defaultdict[str, Decimal] = defaultdict(Decimal)
        """US dollars by model."""
        self.first_token: defaultdict[str, Histogram] = defaultdict(Histogram)
        """Seconds from the start of a turn to its model's first word, by model."""
        self.turn_seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        """Seconds of a turn, by command."""
        self.events = 0
        """Events of ended turns."""
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """HTTP by method, route and status."""
        self.request_seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        """Seconds of a request, by route."""
        self.sessions = 0
        """Sockets opened."""
        self.resumes: Counter[bool] = Counter()
        """Streams that a socket came back to, by whether all that was missed was still there."""
        self.detached = 0
        """Readers that fell too far behind."""
        self.gaps = Histogram(GAPS)
        """Seconds from one piece of an answer to the next, as they come from providers."""
        self.added = Histogram(SHARES)
        """Seconds from a command to its model's first word that were not spent waiting for a provider."""
        self.provider_errors: Counter[tuple[str, str]] = Counter()
        """Calls that failed, by provider and the error's code."""
        self.provider_owners: Mapping[tuple[str, str], str] = {}
        """The plugins that bring providers, by role and name."""
        self.loop_lag = Histogram(LAGS)
        """Seconds by which the event loop was late."""
        self.recent_lags: deque[float] = deque(maxlen=RECENT_LAGS)
        self.blocks: Counter[str] = Counter()
        """Times that the event loop was blocked, by plugin."""
        self.strangers: Counter[str] = Counter()
        """Trouble with connections on which nobody is known, by kind."""
        self._models: set[str] = set()

    def troubled(self, kind: str) -> int:
        """Count trouble with a connection on which nobody is known; gives how often there was some of the kind."""
        self.strangers[kind] += 1
        return self.strangers[kind]

    def turn_ended(
        self,
        command: str,
        ended: StreamEnded,
        *,
        seconds: float,
        first_word: float | None,
        added: float | None,
        events: int,
    ) -> None:
        """Count a turn that is over.

        `first_word` is the time to its first word, and `added` the server's own share of it; both are None where it said
        nothing.
        """
        model = self._model(ended.model)
        self.turns[command, model, ended.status, ended.reason] += 1
        self.turn_seconds[command].observe(seconds)
        self.events += events
        if first_word is not None:
            self.first_token[model].observe(first_word)
        if added is not None:
            self.added.observe(max(0.0, added))
        if (usage := ended.usage) is not None:
            self.tokens[model, "input"] += usage.input_tokens
            self.tokens[model, "output"] += usage.output_tokens
            self.tokens[model, "cached"] += usage.cached_tokens
            self.tokens[model, "reasoning"] += usage.reasoning_tokens
        if ended.cost is not None:
            self.cost[model] += Decimal(ended.cost.amount)

    def late(self, seconds: float) -> None:
        """Count one look at the event loop."""
        self.loop_lag.observe(seconds)
        self.recent_lags.append(seconds)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request that was answered."""
        self.requests[method, route, status] += 1
        self.request_seconds[route].observe(seconds)

    def _model(self, name: str | None) -> str:
        if name is None:
            return "none"
        if name not in self._models and len(self._models) >= MOST_MODELS:
            return "other"
        self._models.add(name)
        return name
