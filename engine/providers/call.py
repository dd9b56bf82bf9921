"""One call to one provider: its deadlines, its meter, and whether it has said anything yet."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from inspect import iscoroutine
from time import perf_counter, thread_time
from typing import NoReturn, cast, get_args

from msgspec import structs

from engine.api.chat import Answered, ChatDelta, ChatDeltas, ChatRequest, Extra
from engine.api.errors import (
    EngineError,
    Overloaded,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from engine.api.events import Cost, StatusChanged, TextDelta, Usage
from engine.api.providers import ChatProvider, ContinuedAnswer, PushedAnswer, Target
from engine.api.streams import Writer
from engine.guard import defined_at
from engine.providers.breaker import Breaker
from engine.providers.estimating import tokens_of, weight
from engine.providers.explaining import WrongDelta, explained, wrong_delta
from engine.providers.failing import note_failure
from engine.providers.metering import Ledger, Meter
from engine.providers.policy import ResiliencePolicy
from engine.providers.reserving import Aside
from engine.providers.watchdog import Watchdog
from engine.providers.wording import priced_otherwise
from engine.stats import Stats
from engine.wire.apart import apart, is_long

LOADING = "loading"
CONNECTING = "connecting"
"""A provider that can tell says so first: the wait for its next delta, which may be an empty batch, is then bounded by
`connect`. Clients do not see it."""

ANSWERING = "answering"
"""A provider that can tell says so once the head of its vendor's answer is there: clients may be told that an answer comes,
and do not see it. No deadline changes, since a head is no event."""

_PREFACE = (StatusChanged, Answered, Usage, Extra)
"""What may come before the answer: after these the same question can still be put elsewhere."""

TURN = 0.005
"""Seconds after which an iterator of deltas gives the event loop its turn, though it has more to yield at once."""

BURST = 256
"""Pieces pushed in close succession, after which it is looked at whether the event loop still gets its turn."""

CLOSE = 0.001
"""Seconds between two pieces of a burst."""

LONGEST_PUSH = 0.5
"""Seconds of computing for which a provider may push pieces without giving the event loop its turn."""

DUE = "a ChatDelta such as TextDelta, or a sequence of them,"

_DELTAS = frozenset(get_args(ChatDelta))


class Call:
    """From the question to the last delta. `spoke` is true once something of the answer was passed on."""

    __slots__ = (
        "_begun",
        "_breaker",
        "_burst",
        "_connecting",
        "_dismissed",
        "_gap",
        "_head",
        "_heard",
        "_judged",
        "_meter",
        "_ours",
        "_pass",
        "_policy",
        "_provider",
        "_pushing",
        "_request",
        "_sent",
        "_stats",
        "_unasked",
        "asked",
        "expired",
        "judge",
        "source",
        "spoke",
        "target",
        "watch",
    )

    source: AsyncIterator[ChatDeltas] | PushedAnswer
    _pass: Callable[[ChatDeltas], object]

    def __init__(
        self,
        target: Target,
        provider: ChatProvider,
        request: ChatRequest,
        writer: Writer,
        ledger: Ledger,
        policy: ResiliencePolicy,
        breaker: Breaker,
        stats: Stats,
    ) -> None:
        self.target = target
        self.asked = 0.0
        """Since when the vendors' time runs that this call has to tell of. uvloop's clock counts milliseconds, so that this is
        `time.perf_counter`."""
        self.judge: Callable[[int], Awaitable[None]] | None = None
        """Asked before each request after the first whether it is paid for, with the tokens that its input has grown by."""
        self._heard = 0.0
        self._burst = 0
        self._pushing: float | None = None
        self.spoke = False
        self.expired = False
        self._judged = False
        self._begun = False
        """The vendor has begun to answer, if only with a sign of life."""
        self._head = False
        """The head of the vendor's answer is there."""
        self._unasked = False
        """The request that was due next was not made."""
        self._sent = 0.0
        """When the last request was made."""
        self._connecting = False
        self._dismissed: EngineError | None = None
        # The options are copied: a provider that changes them changes nothing for the next one of the chain.
        options = deepcopy(request.provider_options) if request.provider_options else {}
        self._request = structs.replace(request, model=target.model, provider_options=options)
        self._policy = policy
        self._breaker = breaker
        self._meter = Meter(target, writer, ledger, priced=priced_otherwise(request) is None)
        self._ours: BaseException | None = None
        self.watch = Watchdog(policy.first_event, policy.total)
        self._provider = provider
        self._stats = stats
        self._gap = stats.gaps.observe

    def put_aside(self, aside: Aside) -> None:
        """A budget has put so much aside for the next request."""
        self._meter.put_aside(aside)

    async def run(self, take: Callable[[ChatDeltas], object]) -> None:
        """Put the question, and hand what is to be passed on to `take`; raises where there was no answer."""
        self._pass = take
        source = self.source = self._provider.stream(self._request)
        self.watch.begin()
        self._sent = perf_counter()
        if isinstance(source, AsyncIterator):
            turn = perf_counter()
            async for raw in source:
                self._take(raw)
                self.watch.forgive()
                if (now := perf_counter()) - turn > TURN:
                    # One that has all its deltas ready never waits, and nobody else would run before its end.
                    turn = now
                    await sleep(0)
        elif hasattr(source, "push"):
            if hasattr(source, "again"):
                cast("ContinuedAnswer", source).again = self._again
            await source.push(self._take)
        else:
            self._refuse_source(source)
        self._finish()

    async def _again(self) -> None:
        """The vendor is about to be asked once more for this answer."""
        grown = self._meter.continued(self._silent)
        if self.judge is not None:
            try:
                await self.judge(grown)
            except BaseException as error:
                self._ours, self._unasked = error, True
                raise
        self._sent = perf_counter()

    @property
    def spent(self) -> tuple[Usage, Cost | None]:
        """What the turn has used with what the vendor has told of this call so far."""
        return self._meter.spent

    def _refuse_source(self, source: object) -> NoReturn:
        if iscoroutine(source):
            source.close()
        place = f"{type(self._provider).__qualname__}.stream"
        raise WrongDelta(
            f"{place} returned {type(source).__name__!r}; an asynchronous iterator or a PushedAnswer is due",
            defined_at(self._provider.stream),
        )

    def _take(self, raw: ChatDeltas) -> None:
        """Account for what one read brought, and pass it on."""
        if not self.spoke:
            if type(raw) is StatusChanged and raw.stage == ANSWERING:
                self._head = True
                self._meter.begun()
                return
            raw = self._open(self._batch(raw))
        elif not raw:
            self._batch(raw)  # an empty batch is a sign of life; nothing else that is empty is due
        else:
            now = perf_counter()
            gap = now - self._heard
            self._gap(gap)
            self._heard = now
            if gap > CLOSE:
                self._burst = 0
            else:
                self._burst += 1
                if self._burst > BURST:
                    self._check_burst()
            # Exact types first: a look at `type` costs a quarter of `isinstance`, and this one is nearly all there is.
            if type(raw) is TextDelta:
                text = raw.text
                self._meter.said += len(text) if text.isascii() else weight(text)
            else:
                for delta in self._batch(raw):
                    self._meter.take(delta)
        self.watch.alive()
        if raw:
            try:
                self._pass(raw)
            except BaseException as error:
                self._ours = error
                raise

    def _batch(self, raw: ChatDeltas) -> Sequence[ChatDelta]:
        """What one read brought, as a sequence; raises `WrongDelta` for what is none."""
        if type(raw) in _DELTAS:
            return (cast("ChatDelta", raw),)
        given: object = raw  # whatever its type says: a plugin may yield anything
        if isinstance(given, str | bytes) or not isinstance(given, Sequence):
            raise wrong_delta(given, DUE, self.source)
        for delta in given:
            if type(delta) not in _DELTAS:
                raise wrong_delta(delta, DUE, self.source)
        return given

    def _check_burst(self) -> None:
        """Raise `WrongDelta` for a provider that pushes on and on and never lets anybody else run."""
        now = thread_time()  # a process that does not get the processor is no fault of the provider's
        if self._pushing is None:
            self._pushing = now
            get_running_loop().call_soon(self._burst_over)
        elif now - self._pushing > LONGEST_PUSH:
            raise WrongDelta(
                f"{type(self.source).__qualname__}.push took pieces for {LONGEST_PUSH:g} s without waiting once; "
                "an `await asyncio.sleep(0)` among them is due",
                defined_at(getattr(type(self.source), "push", None)),
            )

    def _burst_over(self) -> None:
        self._pushing, self._burst = None, 0

    def dismiss(self, error: EngineError) -> None:
        """End the call from outside; its caller gets this error."""
        self._dismissed = error
        self.watch.end()

    def _finish(self) -> None:
        self.watch.stop()
        if not self.spoke:
            error = ProviderUnavailable(f"{self.target.name} ended without an answer")
            error.begun = True
            raise error
        self.watch.expired()  # an end in the very moment of the deadline is an end
        if not self._meter.finished:
            raise ProviderUnavailable(f"{self.target.name} ended its answer without a Finish: it was cut off")

    def failure(self, raised: BaseException) -> EngineError | None:
        """What went wrong, told for people; None for what is not the provider's failure: a cancellation, or who takes."""
        self.watch.stop()
        if not self.spoke:
            # Whoever is asked next may refuse, and that is told by a status as if nobody had begun.
            self._meter.begun(False)
        error = self._explain(raised)
        if error is not None:
            note_failure(self._stats, self.target, error, seconds=perf_counter() - self.asked if self.asked else None)
        if error is not None and not self._judged:
            self._judged = True
            # Whoever has begun to answer is there; that it then fell silent says nothing of the next call.
            late = isinstance(error, ProviderTimeout) and not self._begun
            if late or isinstance(error, ProviderUnavailable):
                self._breaker.fail()
            else:
                self._breaker.release()
        return error

    def drop(self) -> None:
        """The call is not made after all: nothing was used, and its provider is not to blame."""
        self.watch.stop()
        self._breaker.release()
        self._judged = True

    async def close(self, raised: BaseException | None) -> None:
        """Meter what was used, then close the connection to the vendor."""
        self.watch.close()
        billed = self._may_be_billed(raised)
        self._ours = self.judge = None  # both hold this call
        if not self._judged:
            self._breaker.release()
            self._judged = True
        if self.spoke or (billed if self._meter.bounded else self._is_likely_billed(raised)):
            if isinstance(raised, Exception):
                self._meter.failed()
            await self._metered(billed)
        source = getattr(self, "source", None)
        if source is not None:
            del self.source  # one that goes on with its answer holds this call
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()

    def _is_likely_billed(self, raised: BaseException | None) -> bool:
        """Of calls that no budget bounds: those that failed before they answered are taken not to be billed.

        One that was cancelled may be, and one whose answer broke off.
        """
        cut = self.expired or (isinstance(raised, ProviderError) and raised.begun)
        return (self._begun and cut) or not (self.expired or isinstance(raised, Exception))

    def _may_be_billed(self, raised: BaseException | None) -> bool:
        """Whether the vendor may bill the last request: all but one that it refused, or that did not get there."""
        if self._unasked or (self._connecting and not self._begun):
            return False
        if isinstance(raised, ProviderTimeout):
            return True
        if isinstance(raised, ProviderError) and raised is not self._ours:
            refused = isinstance(raised, ProviderRefused | ProviderRateLimited)
            return raised.begun or ((self._begun or self._head) and not refused)
        return not isinstance(raised, EngineError) or raised is self._ours

    @property
    def _silent(self) -> float:
        """Seconds since the last piece, or since the request."""
        return perf_counter() - max(self._heard, self._sent)

    async def _metered(self, billed: bool) -> None:
        sent, silent = 0, self._silent
        waited = self._waited() if self.spoke else 0.0
        try:
            if not self._meter.bounded and not self._meter.counted and is_long(self._request):
                with suppress(Overloaded):
                    sent = await apart(partial(tokens_of, self._request))
        finally:
            self._meter.close(self._request, waited, sent, silent=silent, billed=billed)

    def _open(self, batch: Sequence[ChatDelta]) -> Sequence[ChatDelta]:
        """What comes before the answer, and its first piece."""
        if not batch:
            # A sign of life; after the notice of a connection it says that this one is made.
            self._begun = self._begun or not self._connecting
            self._connecting = False
            if self._begun:
                self._meter.begun()
        elif not all(isinstance(delta, StatusChanged) for delta in batch):
            self._begun = True
        self.watch.release(self._policy.idle if self._begun else self._policy.first_event)
        hidden = False
        for delta in batch:
            self._meter.take(delta)
            if not isinstance(delta, StatusChanged):
                self._meter.begun()
            if not isinstance(delta, _PREFACE):
                self._begin()
            elif isinstance(delta, StatusChanged):
                if delta.stage == LOADING:
                    self.watch.hold()
                elif delta.stage == CONNECTING:
                    self.watch.allow(self._policy.connect)
                    self._connecting = hidden = True
        return [delta for delta in batch if not _is_private(delta)] if hidden else batch

    def _begin(self) -> None:
        if self.spoke:
            return
        self.spoke = True
        self._meter.answering(self._waited())
        self._breaker.succeed()
        self._judged = True

    def _waited(self) -> float:
        now = self._heard = perf_counter()
        waited, self.asked = now - self.asked, now
        return waited

    def _explain(self, raised: BaseException) -> EngineError | None:
        if raised is self._ours:
            return None
        if self.watch.fired:
            self.expired = self.watch.expired()
            if self.expired and self._dismissed is not None:
                return self._dismissed
            if self.expired:
                return ProviderTimeout(f"{self.target.name} {self.watch.verdict}")
            return None
        return explained(raised, self.target.provider, self.target.name, self._stats)


def _is_private(delta: ChatDelta) -> bool:
    return isinstance(delta, StatusChanged) and delta.stage == CONNECTING
