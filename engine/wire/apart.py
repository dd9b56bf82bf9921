"""Long work on what a client sent, in a thread, so that the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from engine.api.chat import ChatRequest, TextPart
from engine.api.errors import Overloaded

LARGE = 64 << 10
"""Bytes of JSON from which reading it leaves the event loop: about a millisecond of it."""

AT_ONCE = 2
"""More threads would not be faster, as one at a time holds the interpreter's lock, and the loop would wait for each."""

MOST_WAITING = 64

LONG = 8 << 10
"""Characters of a text from which cutting or cleaning it leaves the event loop."""

MANY = 1_000
"""Messages from which a translation of them leaves the event loop."""

_LARGE_VALUES = 1_000
_TEXT_OF_A_VALUE = 64

T = TypeVar("T")

_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="large body")
_waiting = 0


async def apart(work: Callable[[], T]) -> T:
    """The result of `work`, made in a thread; raises `Overloaded` where too much of the kind waits already."""
    global _waiting
    if _waiting >= MOST_WAITING:
        raise Overloaded(
            "the server reads as many large bodies as it can; send this again in a moment",
            retry_after=1.0,
            limit=MOST_WAITING,
            remaining=0,
        )
    _waiting += 1
    try:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(_pool, context.run, work)
    finally:
        _waiting -= 1


async def apart_if(large: bool, work: Callable[[], T]) -> T:
    """The result of `work`: made in a thread where it is large, at once where it is not."""
    return await apart(work) if large else work()


def is_long(request: ChatRequest) -> bool:
    """Whether a request has so many messages, or so much text, that walking it takes a millisecond or more."""
    if len(request.messages) > MANY:
        return True
    size = len(request.instructions or "")
    for message in request.messages:
        for part in message.parts:
            size += _TEXT_OF_A_VALUE + len(part.text if isinstance(part, TextPart) else "")
        size += sum(_TEXT_OF_A_VALUE + len(call.arguments) for call in message.tool_calls)
        if size > LARGE:
            return True
    return is_large(request.native) or is_large(request.provider_options)


def is_large(value: Any) -> bool:
    """Whether plain data has so many values, or so long texts, that walking it takes a millisecond or more."""
    seen = 0
    waiting = [value]
    while waiting and seen < _LARGE_VALUES:
        each = waiting.pop()
        seen += 1
        if isinstance(each, Mapping):
            seen += len(each)
            waiting += each.values()
        elif isinstance(each, list | tuple):
            seen += len(each)
            waiting += each[:_LARGE_VALUES]
        elif isinstance(each, str):
            seen += len(each) // _TEXT_OF_A_VALUE
    return seen >= _LARGE_VALUES
