"""What usage costs, by the prices of the catalogue."""

from decimal import Decimal

from msgspec import UNSET

from engine.api.events import Usage
from engine.api.providers import Price


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
