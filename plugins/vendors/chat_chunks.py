"""The chunks of a Chat Completions stream: only the fields that are used, so that decoding skips the rest."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from engine.wire.counts import Count
from plugins.vendors.lenient import Reader


class FunctionPiece(msgspec.Struct, gc=False):
    """A piece of a call; the name comes once, the arguments bit by bit, or whole as an object."""

    name: str | None = None
    arguments: Any = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of the call number `index`. The id comes with the first."""

    index: int | str | None = None
    id: str | None = None
    function: FunctionPiece | None = None

    @property
    def number(self) -> int | None:
        """The index, also where it is written as a text."""
        index = self.index
        if isinstance(index, str):
            return int(index) if index.isdecimal() and len(index) < 10 else None
        return index


class UrlCitation(msgspec.Struct, gc=False):
    """A web page that the answer leans on."""

    url: str = ""
    title: str | None = None
    content: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(msgspec.Struct, gc=False):
    """A remark on the text; only citations of web pages are read."""

    url_citation: UrlCitation | None = None


class ContentPart(msgspec.Struct, gc=False):
    """A part of Mistral's content where its model thinks: text, or thinking made of such parts."""

    text: str = ""
    thinking: list[ContentPart] | str = ""


class Delta(msgspec.Struct, gc=False):
    """What one chunk adds. Reasoning has two spellings: DeepSeek's, and that of OpenRouter, Groq and Ollama."""

    NEEDED: ClassVar = frozenset({"content", "tool_calls", "refusal"})

    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None
    annotations: list[Annotation] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """Probabilities of the tokens, passed on as they come."""

    content: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers that were asked for."""

    NEEDED: ClassVar = frozenset({"delta", "message"})

    index: int | None = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    message: Delta | None = None
    """The whole answer, of a server that streams none."""

    error: Any = None


class InputDetails(msgspec.Struct, gc=False):
    """Parts of the input's tokens."""

    cached_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output's tokens."""

    reasoning_tokens: Count = None


class ChunkUsage(msgspec.Struct, gc=False):
    """Token counts; DeepSeek names its cached tokens apart."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: Count = None


class SearchResult(msgspec.Struct, gc=False):
    """Perplexity's sources with their titles."""

    url: str = ""
    title: str | None = None
    snippet: str | None = None


class Source(msgspec.Struct, gc=False):
    """A citation that is more than an address."""

    url: str = ""


class Chunk(msgspec.Struct, gc=False):
    """What is read of every chunk. `error` only says that there is one."""

    NEEDED: ClassVar = frozenset({"choices"})

    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None
    citations: list[str | Source] | None = None
    search_results: list[SearchResult] | None = None


class Odd(msgspec.Struct):
    """What a document may be that has neither choices nor counts: an error that its server sent with status 200."""

    object: Any = None
    detail: Any = None
    message: Any = None


class Opening(msgspec.Struct, gc=False):
    """What is the same in all chunks, and read of the first alone."""

    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None


read_chunk = Reader(Chunk)
read_opening = Reader(Opening)
read_odd = Reader(Odd)
