"""Why an answer ended: the words of all vendors, in any case."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from engine.api import FinishReason
from plugins.vendors.failures import Vendor

log = structlog.get_logger(__name__)

FINISH_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(
        ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "completed", "complete", "end", "done", "finished"),
        "stop",
    ),
    **dict.fromkeys(
        (
            "length",
            "max_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "model_length",
            "model_context_window_exceeded",
            "context_window_exceeded",
            "token_limit",
            "abort",
            "aborted",
            "cancelled",
            "pause_turn",
        ),
        "length",
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "safety",
            "sensitive",
            "refusal",
            "recitation",
            "language",
            "blocklist",
            "prohibited_content",
            "spii",
            "model_armor",
            "image_safety",
            "image_prohibited_content",
            "image_recitation",
        ),
        "content_filter",
    ),
}
"""By the vendors' words in lower case. What is cut short for another reason than a filter is `length`."""

MOST_LOGGED = 1_000

_logged: set[str] = set()


def finish_reason(word: str | None, vendor: Vendor) -> FinishReason:
    """A vendor's word in ours. One that is not known ended the answer in a way that its vendor thinks is fine."""
    if not word:
        return "stop"
    known = FINISH_REASONS.get(word.lower())
    if known is not None:
        return known
    if word not in _logged and len(_logged) < MOST_LOGGED:
        _logged.add(word)
        log.warning("finish_reason_unknown", vendor=vendor.title, reason=word[:100])
    return "stop"
