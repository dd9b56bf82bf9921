"""Documents of vendors that may be large: read up to a bound, and worked on off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

from yarl import URL

from plugins.vendors.failures import Vendor
from plugins.vendors.transport import Http, post_bytes

WORTH_A_THREAD = 256 << 10
"""Bytes of JSON above which decoding or encoding leaves the event loop: about a millisecond of it."""

JSON = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}

T = TypeVar("T")


async def apart(size: int, work: Callable[[], T]) -> T:
    """The result of `work`, which handles `size` bytes: in a thread where that takes long."""
    return await asyncio.to_thread(work) if size > WORTH_A_THREAD else work()


async def post_document(
    http: Http,
    url: str | URL,
    headers: Mapping[str, str],
    body: bytes | AsyncIterable[bytes],
    vendor: Vendor,
    *,
    longest: int,
) -> bytes:
    """A POST whose answer is one document of at most `longest` bytes; failures are raised as those of a stream are."""
    pieces, size = [], 0
    async with aclosing(post_bytes(http, url, headers, body, vendor, due="a document")) as answer:  # type: ignore[type-var]
        async for piece in answer:
            pieces.append(piece)
            size += len(piece)
            if size > longest:
                raise vendor.broke_protocol(f"its answer is longer than {longest >> 20} MiB")
    return await apart(size, lambda: b"".join(pieces))
