"""The engine's resilience around every chat call: deadlines, retries, fallbacks, breakers, metering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NoReturn

from msgspec import structs

from engine.api.chat import ChatDeltas, ChatRequest
from engine.api.errors import EngineError
from engine.api.events import Usage
from engine.api.providers import Provider, Target
from engine.api.streams import Writer
from engine.guard import let_go
from engine.providers.breaker import Breaker
from engine.providers.call import Call
from engine.providers.checks import unsupported
from engine.providers.course import Course
from engine.providers.metering import Ledger, Ledgers
from engine.providers.policy import ResiliencePolicy
from engine.providers.reserving import Sent, affordable, put_aside, sent_to
from engine.providers.wording import bounded, judged, priced_otherwise
from engine.stats import Stats
from engine.tracing import Tracing
from engine.uses import Uses
from engine.wire.apart import apart_if, is_long

UNASKED_OUTPUT = 4096
"""Tokens to which an answer is bounded that a budget has to pay for and whose request names no bound."""


LEAST_OUTPUT = 16
"""Fewer tokens than these are no answer: where no more can be paid for, the call is refused."""


LONGEST_BOUND = 10_000_000
"""A bound of an answer with as many digits as one may have."""


class Chain:
    """Implements `engine.api.ChatChain`. Made for one turn: what its calls use adds up for each stream.

    `notices` are told as `status` events when the first call begins, as that a retired model is answered for by its
    successor.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        policy: ResiliencePolicy,
        breakers: Mapping[str, Breaker],
        notices: Sequence[tuple[str, str]] = (),
        uses: Uses[Call, Provider] | None = None,
        ledgers: Ledgers | None = None,
        stats: Stats | None = None,
        tracing: Tracing | None = None,
        asked: str | None = None,
    ) -> None:
        self._asked = asked
        self.targets = tuple(targets)
        self._policy = policy
        self._breakers = breakers
        self._notices = tuple(notices)
        self._uses: Uses[Call, Provider] = uses if uses is not None else Uses()
        self._all = ledgers or Ledgers()
        self._purse = self._all.purse
        self._stats = stats or Stats()
        self._tracing = tracing or Tracing()
        self._told: set[str] = set()
        self._judged: tuple[tuple[Any, Any, Any], ChatRequest] | None = None

    def check(self, request: ChatRequest) -> None:
        """Raise what makes the first target refuse the request, before anything is called."""
        error = unsupported(self.targets[0], self._judge(request))
        if error is not None:
            raise error

    def _judge(self, request: ChatRequest) -> ChatRequest:
        """The request as it was judged; one with the same options is judged once, whatever its messages are by now."""
        known = self._judged
        given = request.provider_options, request.native, request.max_output_tokens
        if known is None or any(one is not other for one, other in zip(known[0], given, strict=True)):
            known = self._judged = given, judged(request, self.targets, self._asked)
        options = known[1]
        return structs.replace(
            request,
            provider_options=options.provider_options,
            native=options.native,
            max_output_tokens=options.max_output_tokens,
        )

    async def ask(self, request: ChatRequest, stream: Writer, take: Callable[[ChatDeltas], object]) -> None:
        """Call the first target that serves and hand its deltas to `take`; see `engine.api.ChatChain`.

        Retries and falls back until the first delta of the answer; from then on an error is raised as it is.
        """
        request = self._judge(request)
        inputs = _Inputs(request)
        request = await self._bounded(request, inputs, stream)
        course = Course(self.targets, self._policy, self._breakers, request, stream, self._ledger(stream), self._stats)
        asked = perf_counter()
        call = course.first()
        while True:
            await self._put_aside(call, request, inputs, stream)
            raised: BaseException | None = None
            # Pauses before another try are the vendor's doing, too.
            call.asked = asked
            call.judge = partial(self._again, call, request, inputs, stream)
            self._uses.begin(call, call.target.provider)
            try:
                with self._tracing.call("chat", call.target.provider.name, call.target.name):
                    return await call.run(take)
            except BaseException as caught:
                raised = caught
                error = call.failure(caught)
                if error is None or call.spoke:
                    _reraise(caught, error)
                let_go(caught)
            finally:
                try:
                    await call.close(raised)
                finally:
                    raised = None  # its frames hold this one
                    self._uses.end(call)
                    if self._purse is not None:
                        self._purse.settle(stream.id, *self._ledger(stream).total(Usage(), None))
            call = await course.after(call, error)

    async def _bounded(self, request: ChatRequest, inputs: _Inputs, stream: Writer) -> ChatRequest:
        """The request with a bound on its answer, where a budget has to know the most that it can cost.

        That is one which what is left pays for, unless so little is left that no answer would be worth it.
        """
        if self._purse is None or request.max_output_tokens is not None or not self._purse.applies(stream.id):
            return request
        unasked = UNASKED_OUTPUT + ((request.reasoning.budget or 0) if request.reasoning is not None else 0)
        known = [
            target.info.max_output for target in self.targets if target.info is not None and target.info.max_output
        ]
        wanted = min([unasked, *known])
        sent = await inputs.of(self.targets[0])
        paid = affordable(request, self.targets[0], *self._purse.room(stream.id), sent)
        return bounded(request, wanted if paid is None or paid < LEAST_OUTPUT else min(wanted, paid))

    async def _put_aside(self, call: Call, request: ChatRequest, inputs: _Inputs, stream: Writer) -> None:
        if self._purse is None or not self._purse.applies(stream.id):
            return
        try:
            if refusal := priced_otherwise(request):
                raise refusal
            aside = put_aside(request, call.target, await inputs.of(call.target))
            await self._purse.reserve(stream.id, aside.tokens, aside.cost)
            call.put_aside(aside)
        except BaseException:
            call.drop()
            raise

    async def _again(self, call: Call, request: ChatRequest, inputs: _Inputs, stream: Writer, grown: int) -> None:
        """Put aside one more request for an answer, whose input has grown by so many tokens."""
        if self._purse is None or not self._purse.applies(stream.id):
            return
        self._purse.used(stream.id, *call.spent)
        aside = put_aside(request, call.target, await inputs.of(call.target)).grown(grown)
        await self._purse.reserve(stream.id, aside.tokens, aside.cost)
        call.put_aside(aside)

    def _ledger(self, stream: Writer) -> Ledger:
        """What this stream has used; the first call of a stream tells the chain's notices."""
        if stream.id not in self._told:
            self._told.add(stream.id)
            for stage, detail in self._notices:
                stream.status(stage, detail)
        return self._all.of(stream)


class _Inputs:
    """What the input of a request can have at most, estimated once for each target; of a long request in a thread."""

    __slots__ = ("_known", "_long", "_request")

    def __init__(self, request: ChatRequest) -> None:
        # The bound that it may yet get adds to what a native body says.
        self._request = bounded(request, LONGEST_BOUND) if request.native else request
        self._known: dict[str, Sent] = {}
        self._long: bool | None = None

    async def of(self, target: Target) -> Sent:
        """The most tokens of the input of a call to the target."""
        known = self._known.get(target.name)
        if known is None:
            if self._long is None:
                self._long = is_long(self._request)
            known = await apart_if(self._long, partial(sent_to, self._request, target))
            self._known[target.name] = known
        return known


def _reraise(caught: BaseException, error: EngineError | None) -> NoReturn:
    """Raise the error that people are told, without the cause: an SDK's exception may hold headers with the key."""
    try:
        if error is None or error is caught:
            raise caught
        raise error from None
    finally:
        del caught, error  # an error whose frames hold it is freed by the collector of cycles alone
