"""Whatever a vendor writes where a count is due, its answer is decoded, and odd forms of a count are the count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.api import Usage
from engine.wire.counts import checked
from plugins.chat.providers import anthropic_decoding, google_decoding, responses_decoding
from plugins.chat.providers.anthropic_events import MessageUsage
from plugins.chat.providers.google_chunks import UsageMetadata
from plugins.chat.providers.responses_events import ResponseUsage
from plugins.realtime.providers import google_messages, openai_events
from plugins.vendors import chat_decoding
from plugins.vendors.chat_chunks import ChunkUsage

VENDORS: list[tuple[str, Callable[[dict[str, Any]], Usage]]] = [
    (
        "chat completions",
        lambda told: chat_decoding.usage_of(
            msgspec.convert(
                {
                    "prompt_tokens": told["in"],
                    "completion_tokens": told["out"],
                    "prompt_tokens_details": {"cached_tokens": told["cached"]},
                    "completion_tokens_details": {"reasoning_tokens": told["thought"]},
                },
                ChunkUsage,
            )
        ),
    ),
    (
        "responses",
        lambda told: responses_decoding.usage_of(
            msgspec.convert(
                {
                    "input_tokens": told["in"],
                    "output_tokens": told["out"],
                    "input_tokens_details": {"cached_tokens": told["cached"]},
                    "output_tokens_details": {"reasoning_tokens": told["thought"]},
                },
                ResponseUsage,
            )
        ),
    ),
    (
        "anthropic",
        lambda told: anthropic_decoding.usage_of(
            msgspec.convert(
                {
                    "input_tokens": told["in"],
                    "output_tokens": told["out"],
                    "cache_read_input_tokens": told["cached"],
                    "output_tokens_details": {"thinking_tokens": told["thought"]},
                },
                MessageUsage,
            )
        ),
    ),
    (
        "google",
        lambda told: google_decoding.usage_of(
            msgspec.convert(
                {
                    "promptTokenCount": told["in"],
                    "candidatesTokenCount": told["out"],
                    "cachedContentTokenCount": told["cached"],
                    "thoughtsTokenCount": told["thought"],
                },
                UsageMetadata,
            )
        ),
    ),
    (
        "google live",
        lambda told: google_messages.usage_of(
            msgspec.convert(
                {
                    "promptTokenCount": told["in"],
                    "responseTokenCount": told["out"],
                    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": told["cached"]}],
                },
                google_messages.UsageMetadata,
            )
        ),
    ),
    (
        "openai realtime",
        lambda told: (
            openai_events.usage(
                {
                    "input_tokens": told["in"],
                    "output_tokens": told["out"],
                    "input_token_details": {"cached_tokens": told["cached"], "audio_tokens": told["thought"]},
                }
            )
            or Usage()
        ),
    ),
]
ids = [name for name, _ in VENDORS]


@pytest.mark.parametrize("read", [read for _, read in VENDORS], ids=ids)
@pytest.mark.parametrize("odd", [-5, 2**63, 10**30, 1e300, 3.7, "many", True, None, [1]])
def test_no_count_breaks_an_answer(read: Callable[[dict[str, Any]], Usage], odd: Any) -> None:
    for name in ("in", "out", "cached", "thought"):
        usage = checked(read({"in": 10, "out": 5, "cached": 0, "thought": 0, name: odd})).usage
        assert usage.input_tokens >= usage.cached_tokens >= 0
        assert usage.output_tokens >= usage.reasoning_tokens >= 0


@pytest.mark.parametrize("read", [read for _, read in VENDORS], ids=ids)
def test_a_count_in_a_text_or_with_a_fraction_is_the_count(read: Callable[[dict[str, Any]], Usage]) -> None:
    usage = checked(read({"in": "10", "out": 5.0, "cached": None, "thought": "0"})).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (10, 5, False)
