"""What a turn used and what that costs, from the vendor's figures or, where it gives none, from an estimate."""

from decimal import Decimal
from typing import Protocol
from weakref import WeakKeyDictionary

from msgspec import structs

from engine.api.chat import ChatDelta, ChatRequest, Finish
from engine.api.events import Cost, ReasoningDelta, TextDelta, ToolCall, ToolDelta, Usage
from engine.api.providers import Price, Target
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.estimating import about, tokens_of, weight
from engine.providers.pricing import amount, cost_of
from engine.providers.reserving import Aside
from engine.wire.counts import Checked, checked

log = get_logger(__name__)


class Purse(Protocol):
    """What is asked before and after a call: whether its turn may spend so much."""

    def applies(self, stream: str) -> bool:
        """Whether a budget bounds the turn of this stream."""
        ...

    def room(self, stream: str) -> tuple[int | None, Decimal | None]:
        """Tokens and dollars that the turn's next call may put aside; None where nothing bounds them."""
        ...

    async def reserve(self, stream: str, tokens: int, cost: Decimal) -> None:
        """Put aside the most that a call can use; raises `BudgetExceeded`."""
        ...

    def settle(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        """The call is over, and all calls of the turn have used so much."""
        ...

    def used(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        """The turn has used so much by now, whatever its call has put aside."""
        ...

    async def buy(self, stream: str, cost: Decimal) -> None:
        """Put aside what something beside the calls costs; raises `BudgetExceeded`."""
        ...

    def bought(self, stream: str, price: Decimal, usage: Usage, cost: Cost | None) -> None:
        """It is bought at this price, and the turn has used so much by now."""
        ...


class Ledger:
    """What the calls of one turn have used so far; calls add up."""

    __slots__ = ("_cost", "_usage")

    def __init__(self) -> None:
        self._usage = Usage()
        self._cost: Decimal | None = None

    def total(self, usage: Usage, price: Price | None) -> tuple[Usage, Cost | None]:
        """Usage and cost with one more call, which is not kept yet."""
        cost = self._sum(usage, price)
        return self._usage + usage, None if cost is None else Cost(amount=amount(cost))

    def keep(self, usage: Usage, price: Price | None) -> None:
        """Add a call that is over."""
        self._cost = self._sum(usage, price)
        self._usage = self._usage + usage

    def add(self, usage: Usage, cost: Decimal | None) -> None:
        """Add what has its price, or none, already."""
        self._usage = self._usage + usage
        if cost is not None:
            self._cost = (self._cost or Decimal(0)) + cost

    def _sum(self, usage: Usage, price: Price | None) -> Decimal | None:
        if price is None:
            return self._cost
        return cost_of(usage, price) + (self._cost or Decimal(0))


class Ledgers:
    """What the calls of each turn have used, of every role together. A turn's ledger goes with its writer."""

    def __init__(self) -> None:
        self.purse: Purse | None = None
        self._of: WeakKeyDictionary[Writer, Ledger] = WeakKeyDictionary()

    def of(self, stream: Writer) -> Ledger:
        """The turn's ledger, opened at its first call."""
        ledger = self._of.get(stream)
        if ledger is None:
            ledger = self._of[stream] = Ledger()
        return ledger

    async def buy(self, stream: Writer, usage: Usage, cost: Decimal | None) -> None:
        """Buy something whose price is known before; raises `BudgetExceeded` where the turn may not."""
        if self.purse is not None and cost is not None:
            await self.purse.buy(stream.id, cost)
        total, spent = self._add(stream, usage, cost)
        if self.purse is not None:
            self.purse.bought(stream.id, cost or Decimal(0), total, spent)

    def applies(self, stream: Writer) -> bool:
        """Whether a budget bounds the turn."""
        return self.purse is not None and self.purse.applies(stream.id)

    def room(self, stream: Writer) -> tuple[int | None, Decimal | None]:
        """Tokens and dollars that the turn's next call may put aside; None where nothing bounds them."""
        return self.purse.room(stream.id) if self.purse is not None else (None, None)

    async def reserve(self, stream: Writer, tokens: int, cost: Decimal) -> None:
        """Put aside the most that the turn's next call can use, in the place of the last one's; raises `BudgetExceeded`."""
        if self.purse is not None:
            await self.purse.reserve(stream.id, tokens, cost)

    async def put_aside(self, stream: Writer, cost: Decimal) -> None:
        """Put aside what comes to be used, until `settle`; raises `BudgetExceeded` where the turn may not."""
        if self.purse is not None:
            await self.purse.buy(stream.id, cost)

    def settle(self, stream: Writer, aside: Decimal, usage: Usage, cost: Decimal | None) -> None:
        """Count what was used of what was put aside, and give back the rest."""
        total, spent = self._add(stream, usage, cost)
        if self.purse is not None:
            self.purse.bought(stream.id, aside, total, spent)

    def count(self, stream: Writer, usage: Usage, cost: Decimal | None) -> None:
        """Count what was used already, so that no budget can refuse it."""
        total, spent = self._add(stream, usage, cost)
        if self.purse is not None:
            self.purse.used(stream.id, total, spent)

    def _add(self, stream: Writer, usage: Usage, cost: Decimal | None) -> tuple[Usage, Cost | None]:
        ledger = self.of(stream)
        ledger.add(usage, cost)
        total, spent = ledger.total(Usage(), None)
        stream.meter(usage=total, cost=spent)
        return total, spent


class Meter:
    """Measures one call and keeps the writer informed.

    `said` is the weight of the answer's text; `finished` is true once the provider has said why its answer ends.
    """

    __slots__ = (
        "_aside",
        "_before",
        "_continued",
        "_ledger",
        "_priced",
        "_said_before",
        "_streamed",
        "_target",
        "_told_at",
        "_usage",
        "_writer",
        "finished",
        "said",
    )

    def __init__(self, target: Target, writer: Writer, ledger: Ledger, *, priced: bool = True) -> None:
        self._streamed: set[tuple[int, str]] = set()
        """Calls of tools whose arguments were counted while they came."""
        self._target = target
        self._priced = priced
        self._writer = writer
        self._ledger = ledger
        self._usage: Checked | None = None
        self._before = Usage()
        """What was used before the last request for this answer but one."""
        self._continued: int | None = None
        """The input of a request that goes on with an answer, until its usage is told."""
        self._said_before = self._told_at = 0
        self._aside: Aside | None = None
        self.said = 0
        self.finished = False

    def put_aside(self, aside: Aside) -> None:
        """A budget has put so much aside for the next request: that counts where the vendor does not tell what it used."""
        self._aside = aside

    def answering(self, waited: float) -> None:
        """The model has begun to answer, after so many seconds."""
        self._writer.meter(model=self._target.name, waited=waited)

    def begun(self, answers: bool = True) -> None:
        """The vendor has begun to answer, of which there may be nothing to show yet; or it was given up again."""
        self._writer.begun(answers)

    def take(self, delta: ChatDelta) -> None:
        """Count one delta. A later `Usage` of the same call replaces an earlier one: some vendors count up."""
        if isinstance(delta, TextDelta | ReasoningDelta):
            self.said += weight(delta.text)
        elif isinstance(delta, ToolCall):
            self.said += len(delta.name)
            if (delta.choice, delta.call_id) not in self._streamed:
                self.said += weight(delta.arguments)
        elif isinstance(delta, ToolDelta):
            self.said += weight(delta.arguments)
            self._streamed.add((delta.choice, delta.call_id))
        elif isinstance(delta, Usage):
            self._usage = self._bounded(delta)
            self._continued, self._told_at = None, self.said
            usage, cost = self._ledger.total(self._usage.usage, self._price)
            self._writer.meter(usage=usage, cost=cost)
        elif isinstance(delta, Finish):
            self.finished = True

    @property
    def bounded(self) -> bool:
        """Whether a budget put something aside for the call."""
        return self._aside is not None

    @property
    def counted(self) -> bool:
        """Whether the vendor has told how many tokens were sent, so that no estimate of them is needed."""
        return self._usage is not None and self._usage.input_known and bool(self._usage.usage.input_tokens)

    @property
    def spent(self) -> tuple[Usage, Cost | None]:
        """What the turn has used, with what the vendor has told of this call so far."""
        return self._ledger.total(self._usage.usage if self._usage is not None else Usage(), self._price)

    def continued(self, silent: float = 0.0) -> int:
        """The vendor is asked to go on with an answer that it paused; gives the tokens that it said and found until then."""
        self._count_untold(silent, over=True)
        so_far = self._usage.usage if self._usage is not None else Usage()
        sent = so_far.input_tokens - self._before.input_tokens
        said = so_far.output_tokens - self._before.output_tokens
        self._before, self._said_before = so_far, self.said
        self._continued = max(0, sent) + max(0, said)
        return self._continued

    def failed(self) -> None:
        """The last request for the answer failed: it is not billed where it said nothing."""
        if self.said == self._said_before:
            self._continued = None

    def close(
        self, request: ChatRequest, waited: float, sent: int = 0, *, silent: float = 0.0, billed: bool = True
    ) -> None:
        """The call is over, answered or cut: meter it, by an estimate where the vendor said nothing.

        `sent` is the estimate of the input where it was made already. Where a budget put something aside, that counts
        instead of an estimate, unless the last request is not `billed`; `silent` is for how many seconds nothing has come.
        """
        if self._aside is None:
            used = self._used(request, sent)
        else:
            used = self._usage.usage if self._usage is not None else Usage()
            if billed or self.said > self._said_before:
                self._count_untold(silent, over=self.finished)
        self._ledger.keep(used, self._price)
        usage, cost = self._ledger.total(Usage(), None)
        self._writer.meter(model=self._target.name, usage=usage, cost=cost, waited=waited)

    def _bounded(self, usage: Usage) -> Checked:
        """What of the provider's figures can be true; those that cannot are logged once a call."""
        found = checked(usage)
        if not found.known and (self._usage is None or self._usage.known):
            log.warning("provider_counts_are_nonsense", provider=self._target.provider.name, model=self._target.name)
        return found

    def _count_untold(self, silent: float, *, over: bool) -> None:
        """Count what the request may have used beside what the vendor told of it, which is nothing once it told all."""
        aside, told = self._aside, self._usage
        if aside is None:
            return
        if told is None or self._continued is not None or told.usage.estimated:
            sent = said = 0
        else:
            sent = max(0, told.usage.input_tokens - self._before.input_tokens)
            said = max(0, told.usage.output_tokens - self._before.output_tokens)
            if over and told.known and sent and self._told_at_end(said):
                return
        # What its own tools find is input that a vendor counts at the end alone.
        more = 0 if sent and not aside.sent.searches else max(0, aside.input - sent)
        shown, complete = self.said - self._said_before, over and aside.choices == 1
        said = max(0, aside.unsaid(shown, silent, complete=complete) - said)
        cost = None if self._price is None else aside.cost_of(more, said)
        self._ledger.add(Usage(input_tokens=more, output_tokens=said, estimated=True), cost)

    def _told_at_end(self, said: int) -> bool:
        """Whether so many tokens are those of the whole answer: what was told before its words is how it began."""
        return self.said == self._said_before or (said > 0 and self._told_at > self._said_before)

    def _used(self, request: ChatRequest, estimate: int) -> Usage:
        """What the call used, by an estimate where the vendor did not say; no count is not a count of 0."""
        given = self._usage
        if self._continued is not None and given is not None:
            said = about(self.said - self._said_before)
            return given.usage + Usage(input_tokens=self._continued, output_tokens=said, estimated=True)
        sent = given.usage.input_tokens if given is not None and given.input_known else 0
        said = given.usage.output_tokens if given is not None and given.output_known else 0
        # Of an answer that was cut the vendor may have told only how it began.
        short = 0 if self.finished or given is None else about(self.said - self._told_at)
        if given is not None and given.known and sent and (said or not self.said) and not short:
            return given.usage
        sent = sent or estimate or tokens_of(request)
        said = said + short if said else about(self.said)
        return structs.replace(
            given.usage if given is not None else Usage(), input_tokens=sent, output_tokens=said, estimated=True
        )

    @property
    def _price(self) -> Price | None:
        return self._target.info.price if self._target.info is not None and self._priced else None
