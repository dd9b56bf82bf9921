"""Files as answers: whole, in the part that was asked for, or not at all where the caller has them (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing

from aiohttp import web

from engine.api.errors import RangeNotSatisfiable
from engine.api.routes import FileAnswer
from engine.log import get_logger

log = get_logger(__name__)

_ONE_RANGE = re.compile(r"bytes=[ \t]*(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})[ \t]*", re.IGNORECASE)


def span_asked(header: str | None, size: int) -> range | None:
    """The positions that a Range header asks for, None for the whole file.

    A header that is malformed, has another unit or asks for several parts counts as none, as the standard allows. Raises
    `RangeNotSatisfiable` for a part that begins behind the end.
    """
    match = _ONE_RANGE.fullmatch(header) if header is not None else None
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        return _ending(int(match["last"]), size)
    first, last = int(match["first"]), int(match["last"] or size)
    if match["last"] and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return range(first, min(last + 1, size))


def _ending(length: int, size: int) -> range | None:
    """The last `length` positions."""
    if length == 0:
        raise RangeNotSatisfiable(size)
    return range(max(0, size - length), size) if size else None


async def send_file(request: web.Request, answer: FileAnswer, headers: Mapping[str, str]) -> web.StreamResponse:
    """Send the file, or what of it the caller asks for and does not have."""
    told = {**headers, **answer.headers, "ETag": answer.etag, "Accept-Ranges": "bytes"}
    if _has_it(request, answer.etag):
        return web.Response(status=304, headers=told)
    span = span_asked(_range(request, answer.etag), answer.size)
    asked = range(answer.size) if span is None else span
    response = web.StreamResponse(status=200 if span is None else 206, headers=told)
    response.headers["Content-Type"] = answer.content_type
    response.content_length = len(asked)
    if span is not None:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{answer.size}"
    if request.method == "HEAD" or not asked:
        await response.prepare(request)
    else:
        await _send(request, response, answer, asked)
    return response


async def _send(request: web.Request, response: web.StreamResponse, answer: FileAnswer, asked: range) -> None:
    async with aclosing(answer.read(asked.start, asked.stop)) as pieces:  # type: ignore[type-var]
        # Before the status line: a file that cannot be read at all is an error, and no answer that is cut off.
        piece = await anext(pieces, b"")
        await response.prepare(request)
        left = len(asked)
        try:
            while piece:
                left -= len(piece)
                await response.write(piece)
                piece = await anext(pieces, b"")
        except ConnectionError:
            raise
        except Exception as error:
            log.error("file_cut_off", route=request.path, error=type(error).__name__, exc_info=error)
    if left and request.transport is not None:
        # Who was told a length takes nothing shorter for whole.
        request.transport.abort()


def _range(request: web.Request, etag: str) -> str | None:
    """The Range header where it is to be heeded: of a GET, and of the file that the caller means (If-Range)."""
    meant = request.headers.get("If-Range")
    return request.headers.get("Range") if request.method == "GET" and meant in (None, etag) else None


def _has_it(request: web.Request, etag: str) -> bool:
    known = request.headers.get("If-None-Match", "")
    return known.strip() == "*" or etag in (each.strip().removeprefix("W/") for each in known.split(","))
