"""Recordings that are too long for a request: Google's Files API (protocol: `google.genai.files`, resumable uploads)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import IO, Any

import aiohttp
import msgspec

from engine.api import EngineError, ProviderError, Shared
from plugins.vendors.failures import Vendor
from plugins.vendors.transport import connecting, failure_of, get_json, send

MEDIA_TYPE = "audio/wav"

_PIECE = 1 << 18
_GOODBYE = 5.0


class GoogleFiles:
    """Uploads that are there for as long as they are used; `pause` is in seconds, between two looks at one."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        http: Shared[aiohttp.ClientSession],
        vendor: Vendor,
        *,
        pause: float = 0.5,
    ) -> None:
        self._base_url = base_url
        self._headers = headers
        self._http = http
        self._vendor = vendor
        self._pause = pause

    @asynccontextmanager
    async def holding(self, file: IO[bytes], size: int) -> AsyncIterator[str]:
        """Have a file of `size` bytes at Google; gives its URI, and deletes it at the end."""
        held = await self._finish(await self._begin(size), file, size)
        try:
            yield (await self._ready(held))["uri"]
        finally:
            await self._delete(held["name"])

    async def _begin(self, size: int) -> str:
        """The address that takes the bytes."""
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
            "X-Goog-Upload-Header-Content-Type": MEDIA_TYPE,
        }
        body = msgspec.json.encode({"file": {"mimeType": MEDIA_TYPE}})
        response = await send(self._http, f"{self._base_url}/upload/v1beta/files", headers, body, self._vendor)
        try:
            if response.status >= 300:
                raise await failure_of(response, self._vendor, "an upload")
            if not (url := response.headers.get("X-Goog-Upload-URL")):
                raise self._vendor.broke_protocol("it told no address for an upload")
            return url
        finally:
            response.release()

    async def _finish(self, url: str, file: IO[bytes], size: int) -> Mapping[str, Any]:
        # The address is the permission; the key is for Google's own.
        headers = {
            "Content-Length": str(size),
            "X-Goog-Upload-Offset": "0",
            "X-Goog-Upload-Command": "upload, finalize",
        }
        response = await send(self._http, url, headers, _pieces(file), self._vendor)
        try:
            if response.status >= 300:
                raise await failure_of(response, self._vendor, "an upload")
            return self._read(await response.read(), within="file")
        except (aiohttp.ClientError, OSError):
            raise self._vendor.cut_off() from None
        finally:
            response.release()

    async def _ready(self, file: Mapping[str, Any]) -> Mapping[str, Any]:
        while file.get("state") == "PROCESSING":
            await asyncio.sleep(self._pause)
            file = self._read(await get_json(self._http, self._address(file["name"]), self._headers, self._vendor))
        if file.get("state") == "FAILED":
            raise ProviderError(f"{self._vendor.title} could not read the recording.")
        return file

    async def _delete(self, name: str) -> None:
        # Google forgets it by itself after two days.
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                http = await self._http.get()
                with connecting(self._vendor):
                    async with http.delete(self._address(name), headers=self._headers):
                        pass

    def _address(self, name: str) -> str:
        return f"{self._base_url}/v1beta/{name}"

    def _read(self, data: bytes, within: str | None = None) -> Mapping[str, Any]:
        try:
            told = msgspec.json.decode(data)
            file: Mapping[str, Any] = told[within] if within else told
            if not (isinstance(file["name"], str) and isinstance(file["uri"], str)):
                raise TypeError
        except (msgspec.DecodeError, KeyError, TypeError):
            raise self._vendor.broke_protocol("what it says of a file is not of the known form") from None
        return file


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
