"""Deepgram's transcribers: recordings over HTTP, live speech over its WebSocket (protocol: `deepgram.listen.v1`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, ClassVar

import aiohttp
import msgspec

from engine.api import (
    ProviderError,
    ProviderRole,
    ProviderUnavailable,
    Segment,
    Shared,
    TranscriptionRequest,
    UnsupportedParameter,
)
from engine.wire.trace import trace_headers
from plugins.audio.providers.deepgram_heard import of_file, stretch
from plugins.audio.tape import Lost, Tape, heard_live
from plugins.vendors.deepgram import address, deepgram, headers_of
from plugins.vendors.faults import clean
from plugins.vendors.large import apart, post_document
from plugins.vendors.lenient import number, read_json
from plugins.vendors.settings import DeepgramSettings
from plugins.vendors.transport import connecting

_LONGEST_TRANSCRIPT = 64 << 20
KEEP_ALIVE = 4.0
"""Seconds without audio after which Deepgram is told that more may come; it hangs up after ten."""

# Codes with which a connection ends that is worth another: before the end of the audio also the normal one.
_PASSES = frozenset({1000, 1001, 1006, 1011, 1012, 1013, None})


class DeepgramTranscriber:
    """Nova, live and out of files, with the times of words and who speaks."""

    role: ClassVar[ProviderRole] = "transcription"
    name = "deepgram"
    default_model = "nova-3"

    def __init__(self, settings: DeepgramSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._vendor = deepgram(settings)

    @property
    def own_address(self) -> bool:
        """Whether Deepgram itself answers."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def check(self, request: TranscriptionRequest) -> None:
        """Raise `UnsupportedParameter` for what Deepgram cannot do."""
        if request.translate:
            raise UnsupportedParameter("Deepgram does not translate; name another model", field="translate")

    async def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording."""
        url = address(self._settings, "listen", {**_fields(request), "utterances": True, **request.provider_options})
        headers = {**headers_of(self._settings), "Content-Type": "application/octet-stream"}
        told = await post_document(self._http, url, headers, audio, self._vendor, longest=_LONGEST_TRANSCRIPT)
        for segment in await apart(len(told), lambda: self._read(told)):
            yield segment

    def _read(self, told: bytes) -> list[Segment]:
        try:
            return of_file(read_json(told)["results"])
        except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise self._vendor.broke_protocol("its transcript is not of the known form") from None

    def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken; a lost connection is made anew, and given again what was not told yet."""
        fields = {"interim_results": True, "endpointing": 300, **_fields(request), **request.provider_options}
        url = address(self._settings, "listen", fields).replace("http", "ws", 1)
        return heard_live(audio, request.rate, partial(self._connection, url))

    async def _connection(self, url: str, tape: Tape) -> AsyncIterator[Segment]:
        http = await self._http.get()
        begin = tape.rewind()
        headers = {**headers_of(self._settings), **trace_headers()}
        try:
            with connecting(self._vendor):
                socket = await http.ws_connect(url, headers=headers, max_msg_size=1 << 22, heartbeat=None)
        except ProviderUnavailable as error:
            raise Lost(error) from None
        feeding = asyncio.create_task(_feed(socket, tape), name="audio for Deepgram")
        try:
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                for segment in self._heard(message.data, begin, tape):
                    yield segment
            if feeding.done() and (failed := feeding.exception()) is not None:
                # What is wrong with the audio is told before what Deepgram made of it.
                raise failed
            code = message.data if message.type is aiohttp.WSMsgType.CLOSE else socket.close_code
            if not tape.sent_all or code != 1000 or not tape.told:
                raise self._closed(code, message.extra if message.type is aiohttp.WSMsgType.CLOSE else None)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await socket.close()

    def _heard(self, data: str, begin: float, tape: Tape) -> list[Segment]:
        try:
            told = read_json(data)
            if told.get("type") == "Error":
                raise self._vendor.failure(data.encode())
            if told.get("type") == "Metadata" and tape.sent_all:
                # The last word of a connection that heard all: what no transcript covers has no speech.
                tape.told_all()
            if told.get("type") != "Results":
                return []
            alternative = told["channel"]["alternatives"][0]
            start, length, final = number(told["start"]), number(told["duration"]), bool(told["is_final"])
            if start is None or length is None:
                raise TypeError
            start += begin
            if final:
                tape.told_until(start + length)
            text = alternative["transcript"]
            return [stretch(alternative, text, start, start + length, begin, final=final)] if text else []
        except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError):
            raise self._vendor.broke_protocol("what it heard is not of the known form") from None

    def _closed(self, code: int | None, reason: str | None) -> Exception:
        """The end of a connection that was not over: the vendor's code and reason are told."""
        told = f"closed the connection with code {code}{f': {clean(reason)}' if reason else ''}"
        if code in _PASSES:
            return Lost(ProviderUnavailable(f"{self._vendor.title} {told}."))
        return ProviderError(f"{self._vendor.title} {told}.")


async def _feed(socket: aiohttp.ClientWebSocketResponse, tape: Tape) -> None:
    while not socket.closed:
        try:
            piece = await tape.piece(KEEP_ALIVE)
            if piece is None:
                await socket.send_str('{"type":"CloseStream"}')
                tape.sent_all = True
                return
            await socket.send_bytes(piece)
        except TimeoutError:
            await socket.send_str('{"type":"KeepAlive"}')
        except (aiohttp.ClientError, ConnectionError, RuntimeError):
            return  # whoever reads from it learns how it ended


def _fields(request: TranscriptionRequest) -> dict[str, Any]:
    return {
        "model": request.model,
        "encoding": "linear16",
        "sample_rate": request.rate,
        "channels": 1,
        "smart_format": True,
        "language": request.language,
        "diarize": request.diarize or None,
        "keyterm": request.prompt.split() if request.prompt else None,
    }
