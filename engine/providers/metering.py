"""What a turn used and what that costs, from the vendor's figures or, where it gives none, from an estimate."""

from decimal import Decimal
from typing import Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from msgspec import UNSET, structs

from engine.api.chat import ChatDelta, ChatRequest, Finish
from engine.api.events import Cost, ReasoningDelta, TextDelta, ToolCall, ToolDelta, Usage
from engine.api.providers import Price, Target
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.estimating import (
    FOUND,
    about,
    kept_for,
    most_input,
    predicted_of,
    searches_of,
    sound_of,
    tokens_of,
    weight,
)
from engine.providers.wording import thinking_of
from engine.wire.counts import Checked, checked

log = get_logger(__name__)


UNKNOWN_LONGEST = 65_536
"""The most tokens that a model puts out of which the catalogue does not say it."""


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
        """Add what has its price already."""
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
        self.said = 0
        self.finished = False

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
    def counted(self) -> bool:
        """Whether the vendor has told how many tokens were sent, so that no estimate of them is needed."""
        return self._usage is not None and self._usage.input_known and bool(self._usage.usage.input_tokens)

    @property
    def spent(self) -> tuple[Usage, Cost | None]:
        """What the turn has used, with what the vendor has told of this call so far."""
        return self._ledger.total(self._usage.usage if self._usage is not None else Usage(), self._price)

    def continued(self) -> int:
        """The vendor is asked to go on with an answer that it paused; gives the tokens that it said and found until then."""
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

    def close(self, request: ChatRequest, waited: float, sent: int = 0) -> None:
        """The call is over, answered or cut: meter it, by an estimate where the vendor said nothing.

        `sent` is the estimate of the input where it was made already.
        """
        used = self._used(request, sent)
        usage, cost = self._ledger.total(used, self._price)
        self._ledger.keep(used, self._price)
        self._writer.meter(model=self._target.name, usage=usage, cost=cost, waited=waited)

    def _bounded(self, usage: Usage) -> Checked:
        """What of the provider's figures can be true; those that cannot are logged once a call."""
        found = checked(usage)
        if not found.known and (self._usage is None or self._usage.known):
            log.warning("provider_counts_are_nonsense", provider=self._target.provider.name, model=self._target.name)
        return found

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


class Sent(NamedTuple):
    """The most tokens of an input, how many of them are sound, and what else of it makes a call dearer."""

    tokens: int
    sound: int
    searches: int = 0
    kept: Literal["minutes", "hour"] | None = None
    predicted: int = 0


def sent_to(request: ChatRequest, target: Target) -> Sent:
    """The most that the input of a call to a target can have."""
    kept, predicted = kept_for(request), predicted_of(request)
    return Sent(most_input(request, target), sound_of(request), searches_of(request), kept, predicted)


def most(request: ChatRequest, target: Target, input: Sent | None = None) -> tuple[int, Decimal]:
    """The most tokens and dollars that a call can use: its input by a generous estimate, its output as it is bounded.

    `input` is that estimate where it was made already.
    """
    price = target.info.price if target.info is not None else None
    input = input or sent_to(request, target)
    sent = input.tokens + input.searches * FOUND
    said, thinking = max(0, request.max_output_tokens or 0), thinking_of(request.provider_options)
    said = (max(said, _longest(target)) if thinking is None else said + thinking) * max(1, request.n)
    said += input.predicted * max(1, request.n)
    if price is None:
        return sent + said, Decimal(0)
    searched = input.searches * (price.search or Decimal(0))
    heard = min(input.sound, sent) if price.audio_input is not None else 0
    each = price.input if input.kept is None else max(price.input, written(price, hour=input.kept == "hour"))
    words = (sent - heard) * each + heard * max(each, price.audio_input or price.input)
    return sent + said, (words + said * dearest(price)).scaleb(-6) + searched


def _longest(target: Target) -> int:
    """The most tokens that a model puts out, thinking among them."""
    known = target.info.max_output if target.info is not None else None
    return known or UNKNOWN_LONGEST


def affordable(
    request: ChatRequest, target: Target, tokens: int | None, dollars: Decimal | None, input: Sent | None = None
) -> int | None:
    """The most tokens of each answer that so much pays for, beside the input; None where nothing bounds them."""
    asked, cost = most(structs.replace(request, max_output_tokens=0), target, input)
    price = target.info.price if target.info is not None else None
    bounds = [] if tokens is None else [(tokens - asked) // max(1, request.n)]
    if dollars is not None and price is not None and dearest(price) > 0:
        bounds.append(int((dollars - cost).scaleb(6) / dearest(price)) // max(1, request.n))
    return min(bounds) if bounds else None


def dearest(price: Price) -> Decimal:
    """Dollars for a million tokens of an answer, whatever they are."""
    return max(price.output, price.reasoning or price.output, price.audio_output or price.output)


def cost_of(usage: Usage, price: Price) -> Decimal:
    """Exact dollars: cached input, reasoning and sound apart where the vendor prices them apart.

    Where a vendor does not say which of the cached input was sound, it is taken for words first, which are the cheaper ones:
    so it is never charged too little.
    """
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    cached_input = price.input if price.cached_input is None else price.cached_input
    thinking = price.output if price.reasoning is None else price.reasoning
    millionths = (
        (usage.input_tokens - cached) * price.input
        + cached * cached_input
        + (usage.output_tokens - reasoning) * price.output
        + reasoning * thinking
    )
    cached_sound = 0 if usage.audio_cached_tokens is UNSET else min(usage.audio_cached_tokens, cached)
    if price.audio_cached_input is not None:
        millionths += cached_sound * (price.audio_cached_input - cached_input)
    if price.audio_input is not None and usage.audio_input_tokens is not UNSET:
        heard = min(usage.audio_input_tokens - cached_sound, usage.input_tokens - cached)
        millionths += max(0, heard) * (price.audio_input - price.input)
    if price.audio_output is not None and usage.audio_output_tokens is not UNSET:
        spoken = min(usage.audio_output_tokens, usage.output_tokens - reasoning)
        millionths += spoken * (price.audio_output - price.output)
    if usage.written_tokens is not UNSET:
        hour = 0 if usage.written_hour_tokens is UNSET else min(usage.written_hour_tokens, usage.written_tokens)
        millionths += (usage.written_tokens - hour) * (written(price) - price.input)
        millionths += hour * (written(price, hour=True) - price.input)
    searched = Decimal(0) if usage.searches is UNSET or price.search is None else usage.searches * price.search
    return millionths.scaleb(-6) + searched


def written(price: Price, *, hour: bool = False) -> Decimal:
    """Dollars for a million tokens of input that are written into a prompt cache, for minutes or for an hour."""
    if hour:
        return price.input * 2 if price.cache_write_hour is None else price.cache_write_hour
    return price.input * Decimal("1.25") if price.cache_write is None else price.cache_write


def amount(cost: Decimal) -> str:
    """A decimal without exponent and without idle zeros."""
    text = format(cost, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
