"""What is put aside for a call before it is made, and what of that counts where its vendor does not tell what it used."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import structs

from engine.api.chat import ChatRequest
from engine.api.providers import Price, Target
from engine.providers.estimating import (
    FOUND,
    MESSAGE_OVERHEAD,
    kept_for,
    most_input,
    predicted_of,
    searches_of,
    sound_of,
)
from engine.providers.pricing import dearest, written
from engine.providers.wording import thinking_of

UNKNOWN_LONGEST = 65_536
"""The most tokens that a model puts out of which the catalogue does not say it."""


UNDELIVERED = 1000
"""Tokens of one choice that a model may make in a second: about what a fast vendor makes, and a third of the fastest."""

_HIDING = ("reason", "think", "effort", "modalit", "audio")
"""Parts of the names of settings with which a model may put out what is not shown as text."""


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


class Aside(NamedTuple):
    """What is put aside for a call: the most tokens of its input and of its output, and their prices.

    `hides` is true unless it is known that all that the model puts out is shown as it comes.
    """

    input: int
    output: int
    sent: Sent
    price: Price | None
    hides: bool
    choices: int

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.input + self.output

    @property
    def cost(self) -> Decimal:
        """The most dollars that they cost."""
        return self.cost_of(self.input, self.output)

    def cost_of(self, input: int, output: int) -> Decimal:
        """The most dollars that so many of the tokens cost; the searches are paid for with the input."""
        price, sent = self.price, self.sent
        if price is None:
            return Decimal(0)
        heard = min(sent.sound, input) if price.audio_input is not None else 0
        each = price.input if sent.kept is None else max(price.input, written(price, hour=sent.kept == "hour"))
        words = (input - heard) * each + heard * max(each, price.audio_input or price.input)
        searched = sent.searches * (price.search or Decimal(0)) if input else Decimal(0)
        return (words + output * dearest(price)).scaleb(-6) + searched

    def grown(self, tokens: int) -> Aside:
        """The same for a request that has so many more tokens of input."""
        return self._replace(input=self.input + tokens)

    def unsaid(self, characters: int, silent: float, *, complete: bool) -> int:
        """The most tokens of output of a call whose vendor did not tell them, and that has shown so many characters.

        No token is shorter than a byte. Beside what arrived, an answer that is not `complete` has what its model made since,
        in `silent` seconds and the one in which a piece is under way and the vendor learns that nobody listens.
        """
        if self.hides:
            return self.output
        more = MESSAGE_OVERHEAD if complete else UNDELIVERED * (1 + silent)
        return min(self.output, characters + self.sent.predicted * self.choices + int(more * self.choices))


def put_aside(request: ChatRequest, target: Target, input: Sent) -> Aside:
    """The most that a call can use, of which the input has been estimated."""
    choices = max(1, request.n)
    said, thinking = max(0, request.max_output_tokens or 0), thinking_of(request.provider_options)
    said = (max(said, _longest(target)) if thinking is None else said + thinking) * choices
    return Aside(
        input=input.tokens + input.searches * FOUND,
        output=said + input.predicted * choices,
        sent=input,
        price=target.info.price if target.info is not None else None,
        hides=input.searches > 0 or _may_hide(request, target),
        choices=choices,
    )


def _may_hide(request: ChatRequest, target: Target) -> bool:
    """Whether a model may put out what is not shown, such as its thinking: false only where the catalogue knows better."""
    if not target.checked or target.info is None or "reasoning" in target.info.capabilities:
        return True
    if request.reasoning is not None:
        return True
    bodies = [request.provider_options, *request.native.values()]
    nested = [each for body in bodies for each in body.values() if isinstance(each, Mapping)]
    return any(part in name.lower() for body in (*bodies, *nested) for name in map(str, body) for part in _HIDING)


def most(request: ChatRequest, target: Target, input: Sent | None = None) -> tuple[int, Decimal]:
    """The most tokens and dollars that a call can use: its input by a generous estimate, its output as it is bounded.

    `input` is that estimate where it was made already.
    """
    aside = put_aside(request, target, input or sent_to(request, target))
    return aside.tokens, aside.cost


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
