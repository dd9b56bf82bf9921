"""Writes a handler's result to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import msgspec
from aiohttp import web
from pydantic import BaseModel

from engine.api.errors import StreamExpired, StreamNotFound
from engine.api.events import StreamEnded
from engine.api.routes import Answer, EventStream, FileAnswer, Result, Upgrade, WholeAnswer
from engine.api.streams import StreamReader
from engine.guard import WrongAnswer
from engine.http.files import send_file
from engine.http.sse import (
    SSE,
    EventWriter,
    NativeEncoder,
    StreamFailed,
    event_stream,
    first_word,
    snapshot_event,
    takes_chunks,
)
from engine.sessions.reader import Reader
from engine.sessions.record import RecordReader
from engine.wire.frames import encode_event, encode_json, stream_prefix
from engine.wire.sse import encode_sse

STREAM_HEADER = "X-Stream-Id"
TIMING_HEADER = "Server-Timing"
SENT = web.RequestKey("sent", int)
"""Bytes of a stream that were sent."""

PIECE = 256 << 10
"""Bytes of a long answer that go to the transport at once."""

BEGUN = web.RequestKey("begun", float)
"""When a request came, by `time.perf_counter`: the clock of uvloop counts milliseconds."""


def encode_body(body: Any) -> bytes:
    """A body as JSON bytes; bytes stay as they are."""
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    try:
        if isinstance(body, BaseModel):
            return body.model_dump_json(exclude_none=True, by_alias=True).encode()
        return msgspec.json.encode(body, enc_hook=_encode_model)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WrongAnswer(f"the body of the answer cannot be written: {error}") from error


def _encode_model(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True, by_alias=True)
    raise TypeError(f"{type(value).__name__} is no JSON")


async def write(request: web.Request, result: Result, headers: Mapping[str, str]) -> web.StreamResponse:
    """Send the result; streams are sent to their end, and left when the caller leaves."""
    if isinstance(result, Answer):
        return await _in_pieces(request, whole(result, headers))
    if isinstance(result, FileAnswer):
        return await send_file(request, result, headers)
    if isinstance(result, Upgrade):
        raise WrongAnswer("only a route with socket=True may answer with Upgrade")
    reader = result.reader
    headers = {**headers, STREAM_HEADER: reader.stream}
    try:
        if isinstance(result, WholeAnswer):
            answer = await _wait(result)
            return await _in_pieces(request, whole(answer, {**headers, TIMING_HEADER: _timing(request, reader)}))
        return await _events(request, result, {**headers, **result.headers})
    except StreamFailed as error:
        error.stream = reader.stream
        raise
    finally:
        reader.close()


def whole(answer: Answer, headers: Mapping[str, str]) -> web.Response:
    """A whole answer as a response."""
    body = encode_body(answer.body)
    response = web.Response(status=answer.status, body=body or None, headers={**headers, **answer.headers})
    if body:
        response.content_type = answer.content_type
    return response


async def _in_pieces(request: web.Request, response: web.Response) -> web.StreamResponse:
    """A long body goes out piece by piece, each once the last is taken: whole, the transport copies it while all wait."""
    body = response.body
    if not isinstance(body, bytes) or len(body) <= PIECE or request.method == "HEAD":
        return response
    sent = web.StreamResponse(status=response.status, headers=response.headers)
    sent.content_length = len(body)
    await sent.prepare(request)
    for at in range(0, len(body), PIECE):
        await sent.write(body[at : at + PIECE])
    await sent.write_eof()
    return sent


async def _wait(result: WholeAnswer) -> Answer:
    ended = await result.reader.ended()
    assert isinstance(ended, StreamEnded)
    said = result.reader.said
    if ended.status != "completed":
        raise StreamFailed(ended, said)
    return result.build(said, ended)


async def _events(request: web.Request, result: EventStream, headers: Mapping[str, str]) -> web.StreamResponse:
    reader = result.reader
    if isinstance(reader, RecordReader):
        if result.encoder is not None:
            raise StreamExpired(
                "the answer under this key is whole and its events are no longer held; ask for it without streaming"
            )
        return await _recalled(request, reader, headers)
    assert isinstance(reader, Reader)
    cursor = reader.cursor
    if result.encoder is not None and cursor.after < reader.source.log.tail:
        raise StreamExpired(f"the first events of stream {reader.stream} are no longer held")
    if result.hold and (error := await first_word(cursor)) is not None:
        raise error
    told = {**headers, TIMING_HEADER: _timing(request, reader)}
    response = event_stream(request, told, result.content_type)
    await response.prepare(request)
    if result.encoder is None and cursor.after < reader.source.log.tail:
        # What is gone cannot be replayed, so it is told as a whole.
        cursor.after = reader.source.n if reader.source.ended is None else reader.source.n - 1
        await response.write(snapshot_event(reader.source, cursor.after))
    encoder = result.encoder or NativeEncoder(reader.source, cursor.after)
    transport, is_file = _transport(request), result.content_type != SSE
    writer = EventWriter(
        cursor,
        transport,
        encoder,
        chunked=takes_chunks(request),
        quiet=is_file,
        keep_alive=result.keep_alive,
    )
    try:
        await writer.run()
    finally:
        request[SENT] = writer.sent
    ended = reader.source.ended
    if is_file and not (cursor.over and ended is not None and ended.status == "completed"):
        # A file that ends well is whole: this one is not.
        transport.abort()
    else:
        await response.write_eof()
    return response


async def _recalled(request: web.Request, reader: RecordReader, headers: Mapping[str, str]) -> web.StreamResponse:
    """A turn whose stream is gone: what its row knows, as a snapshot and the end."""
    recalled = reader.record.since(reader.after)
    prefix = stream_prefix(reader.stream)
    pieces = [encode_sse(encode_event(prefix, n, event), number=n) for n, event in recalled.events]
    if recalled.snapshot is not None:
        pieces.insert(0, encode_sse(encode_json(recalled.snapshot), number=recalled.snapshot.n))
    response = event_stream(request, headers)
    await response.prepare(request)
    await response.write(b"".join(pieces))
    await response.write_eof()
    return response


def _timing(request: web.Request, reader: StreamReader) -> str:
    """What went by until now, in milliseconds: ours, and the providers' (Server Timing, W3C)."""
    waited = reader.source.waited if isinstance(reader, Reader) else 0.0
    ours = perf_counter() - request[BEGUN] - waited
    return f"engine;dur={max(0.0, ours) * 1000:.2f}, provider;dur={waited * 1000:.2f}"


def _transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None:
        raise StreamNotFound("the caller has left")
    return transport
