"""One call to one provider: its deadlines, its meter, and whether it has said anything yet."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter

from msgspec import Struct, structs

from engine.api.chat import Answered, ChatDelta, ChatDeltas, ChatRequest, Extra
from engine.api.errors import EngineError, ProviderError, ProviderTimeout, ProviderUnavailable
from engine.api.events import StatusChanged, TextDelta, Usage
from engine.api.providers import ChatProvider, PushedAnswer, Target
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.breaker import Breaker
from engine.providers.estimating import weight
from engine.providers.metering import Ledger, Meter
from engine.providers.policy import ResiliencePolicy
from engine.providers.watchdog import Watchdog
from engine.stats import Stats

log = get_logger(__name__)

LOADING = "loading"
CONNECTING = "connecting"
"""A provider that can tell says so first: the wait for its next delta, which may be an empty batch, is then bounded by
`connect`. Clients do not see it."""

_PREFACE = (StatusChanged, Answered, Usage, Extra)
"""What may come before the answer: after these the same question can still be put elsewhere."""


class Call:
    """From the question to the last delta. `spoke` is true once something of the answer was passed on."""

    __slots__ = (
        "_begun",
        "_breaker",
        "_connecting",
        "_dismissed",
        "_gap",
        "_heard",
        "_judged",
        "_meter",
        "_ours",
        "_pass",
        "_policy",
        "_provider",
        "_request",
        "_stats",
        "asked",
        "expired",
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
        self._heard = 0.0
        self.spoke = False
        self.expired = False
        self._judged = False
        self._begun = False
        """The vendor has begun to answer, if only with a sign of life."""
        self._connecting = False
        self._dismissed: EngineError | None = None
        self._request = structs.replace(request, model=target.model)
        self._policy = policy
        self._breaker = breaker
        self._meter = Meter(target, writer, ledger)
        self._ours: BaseException | None = None
        self.watch = Watchdog(policy.first_event, policy.total)
        self._provider = provider
        self._stats = stats
        self._gap = stats.gaps.observe

    async def run(self, take: Callable[[ChatDeltas], object]) -> None:
        """Put the question, and hand what is to be passed on to `take`; raises where there was no answer."""
        self._pass = take
        source = self.source = self._provider.stream(self._request)
        self.watch.begin()
        if isinstance(source, AsyncIterator):
            async for raw in source:
                self._take(raw)
                self.watch.forgive()
        else:
            await source.push(self._take)
        self._finish()

    def _take(self, raw: ChatDeltas) -> None:
        """Account for what one read brought, and pass it on."""
        if not self.spoke:
            raw = self._open((raw,) if isinstance(raw, Struct) else raw)
        elif raw:
            now = perf_counter()
            self._gap(now - self._heard)
            self._heard = now
            # Exact types first: a look at `type` costs a quarter of `isinstance`, and this one is nearly all there is.
            if type(raw) is TextDelta:
                text = raw.text
                self._meter.said += len(text) if text.isascii() else weight(text)
            else:
                for delta in (raw,) if isinstance(raw, Struct) else raw:
                    self._meter.take(delta)
        self.watch.alive()
        if raw:
            try:
                self._pass(raw)
            except BaseException as error:
                self._ours = error
                raise

    def dismiss(self, error: EngineError) -> None:
        """End the call from outside; its caller gets this error."""
        self._dismissed = error
        self.watch.end()

    def _finish(self) -> None:
        self.watch.stop()
        if self.spoke:
            self.watch.expired()  # an end in the very moment of the deadline is an end
        else:
            raise ProviderUnavailable(f"{self.target.name} ended without an answer")

    def failure(self, raised: BaseException) -> EngineError | None:
        """What went wrong, told for people; None for what is not the provider's failure: a cancellation, or who takes."""
        self.watch.stop()
        error = self._explain(raised)
        if error is not None:
            self._stats.provider_errors[self.target.provider.name, error.code] += 1
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
        self.watch.stop()
        if not self._judged:
            self._breaker.release()
            self._judged = True
        # A call that failed before it answered is not billed; one that was cancelled may be.
        if self.spoke or not (self.expired or isinstance(raised, Exception)):
            self._meter.close(self._request, self._waited() if self.spoke else 0.0)
        aclose = getattr(getattr(self, "source", None), "aclose", None)
        if aclose is not None:
            await aclose()

    def _open(self, batch: Sequence[ChatDelta]) -> Sequence[ChatDelta]:
        """What comes before the answer, and its first piece."""
        if not batch:
            # A sign of life; after the notice of a connection it says that this one is made.
            self._begun = self._begun or not self._connecting
            self._connecting = False
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
        if isinstance(raised, EngineError):
            return raised
        if isinstance(raised, asyncio.CancelledError) or not isinstance(raised, Exception):
            return None
        return self._crash(raised)

    def _crash(self, raised: Exception) -> ProviderError:
        """A provider raised what it should not have; the error's own text may hold a credential and is not told."""
        kind = type(raised).__name__
        frame = traceback.extract_tb(raised.__traceback__)[-1]
        log.error(
            "provider_crashed", provider=self.target.provider.name, error=kind, at=f"{frame.filename}:{frame.lineno}"
        )
        return ProviderError(f"the provider of {self.target.name} failed unexpectedly ({kind}); the log says where")


def _is_private(delta: ChatDelta) -> bool:
    return isinstance(delta, StatusChanged) and delta.stage == CONNECTING
