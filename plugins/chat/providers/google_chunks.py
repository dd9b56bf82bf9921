"""The chunks of Gemini's streamGenerateContent: only the fields that are used (types: `google.genai.types`)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from engine.wire.counts import Count
from plugins.vendors.lenient import Reader

NOTHING = msgspec.Raw(b"null")
"""A raw field that is missing, or null."""


class Fields(msgspec.Struct, rename="camel"):
    """Root of what stands in a chunk, in the names of JSON."""


class FunctionCall(Fields):
    """The model calls a function, always in one piece."""

    name: str = ""
    id: str | None = None
    args: msgspec.Raw = NOTHING


class Blob(Fields):
    """A picture or audio, of which only the kind is read."""

    mime_type: str = ""


class Part(Fields):
    """A piece of text, a thought or a call; `thought_signature` is to be sent back with it."""

    NEEDED: ClassVar = frozenset({"text", "function_call", "thought"})

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(Fields):
    """What one candidate says in this chunk."""

    NEEDED: ClassVar = frozenset({"parts"})

    parts: list[Part] | None = None


class TokenChance(Fields):
    """A token and the logarithm of its probability."""

    token: str = ""
    log_probability: float = 0.0


class TopTokens(Fields):
    """The likeliest tokens at one place."""

    candidates: list[TokenChance] = []


class Logprobs(Fields):
    """One entry for each token of the chunk."""

    chosen_candidates: list[TokenChance] = []
    top_candidates: list[TopTokens] = []


class Candidate(Fields):
    """One of the answers. What comes at its end is read only there."""

    NEEDED: ClassVar = frozenset({"content"})

    content: Content | None = None
    index: int = 0
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: msgspec.Raw = NOTHING
    logprobs_result: Logprobs | None = None


class PromptFeedback(Fields):
    """Why the prompt was not answered."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Chunk(Fields):
    """One event. `usage_metadata` comes with each and is read from the last."""

    NEEDED: ClassVar = frozenset({"candidates"})

    candidates: list[Candidate] | None = None
    usage_metadata: msgspec.Raw = NOTHING
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: PromptFeedback | None = None
    error: msgspec.Raw = NOTHING


class UsageMetadata(Fields):
    """Token counts: `prompt_token_count` contains what was cached, `candidates_token_count` leaves out the thoughts."""

    prompt_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None


class Web(Fields):
    """A page."""

    uri: str = ""
    title: str | None = None


class GroundingChunk(Fields):
    """A source."""

    web: Web | None = None


class Segment(Fields):
    """A piece of the answer, in bytes of its UTF-8."""

    start_index: int = 0
    end_index: int | None = None


class Support(Fields):
    """The sources of one segment."""

    segment: Segment | None = None
    grounding_chunk_indices: list[int] = []


class Grounding(Fields):
    """What the answer leans on."""

    grounding_chunks: list[GroundingChunk] | None = None
    grounding_supports: list[Support] | None = None
    web_search_queries: list[msgspec.Raw] | None = None


read_chunk = Reader(Chunk)
read_usage = Reader(UsageMetadata)
read_grounding = Reader(Grounding)
