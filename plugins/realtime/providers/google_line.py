"""A connection to Gemini Live: messages out and in, and what its end means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec

import plugins.vendors.google_live as live
from engine.api import EngineError, ProviderError, ProviderTimeout, ProviderUnavailable, Shared
from engine.wire.trace import trace_headers
from plugins.realtime.providers.google_messages import ServerMessage, decode_message
from plugins.realtime.providers.google_setup import Message
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, clean
from plugins.vendors.transport import connecting

BAD_REQUEST = 400


class SessionLost(Exception):
    """A session that is worth another."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


class GoogleLines:
    """Where connections are made.

    `patience` is for a session to begin, and for a message to be taken, `silence` for a word that is due; in seconds.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        http: Shared[aiohttp.ClientSession],
        vendor: Vendor,
        *,
        patience: float,
        silence: float,
    ) -> None:
        self._url = url
        self._headers = headers
        self._http = http
        self.vendor = vendor
        self.patience = patience
        self.silence = silence

    @asynccontextmanager
    async def open(self) -> AsyncIterator[GoogleLine]:
        """A connection whose session has not begun; raises `SessionLost` for one that may come about later."""
        http = await self._http.get()
        headers = {**self._headers, **trace_headers()}
        try:
            with connecting(self.vendor):
                socket = await http.ws_connect(
                    self._url, headers=headers, max_msg_size=live.LONGEST_MESSAGE, heartbeat=live.HEARTBEAT
                )
        except ProviderUnavailable as error:
            raise SessionLost(error) from None
        try:
            yield GoogleLine(socket, self.vendor, self.patience)
        finally:
            await socket.close()


class GoogleLine:
    """One connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, vendor: Vendor, patience: float) -> None:
        self._socket = socket
        self._vendor = vendor
        self._patience = patience
        self._begun = False

    async def begin(self, setup: Message, *, resumed: bool) -> None:
        """Begin the session; raises `SessionLost` where another try may, and what the vendor has against it."""
        await self.send(setup)
        try:
            async with asyncio.timeout(self._patience):
                message = self.read(await self._socket.receive(), resumed=resumed)
        except TimeoutError:
            raise SessionLost(
                ProviderTimeout(f"{self._vendor.title} did not begin the session in {self._patience:g} s")
            ) from None
        if message.setup_complete is None:
            raise self._vendor.broke_protocol("a session begins with setupComplete")
        self._begun = True

    async def send(self, message: Message) -> None:
        """Tell something; of a connection that is gone whoever reads from it learns."""
        try:
            async with asyncio.timeout(self._patience):
                await self._socket.send_str(msgspec.json.encode(message).decode())
        except TimeoutError:
            raise SessionLost(ProviderTimeout(f"{self._vendor.title} takes no more of what is said")) from None
        except (aiohttp.ClientError, ConnectionError, RuntimeError):
            # Whoever reads from it learns how it ended.
            pass

    def receive(self) -> asyncio.Future[aiohttp.WSMessage]:
        """What comes next, to be given to `read`."""
        return asyncio.ensure_future(self._socket.receive())

    def read(self, message: aiohttp.WSMessage, *, resumed: bool = False) -> ServerMessage:
        """A message; raises for the session's end, and where a handle to resume by is refused that is `SessionLost`."""
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
            raise self._closed(code, str(message.extra or "") if code is not None else "", resumed=resumed)
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return decode_message(message.data)
        raise self._vendor.broke_protocol("a message is not of the known form")

    def _closed(self, code: int | None, reason: str, *, resumed: bool) -> Exception:
        told = live.reason_of(code, clean(reason, self._vendor.secret))
        status = live.status_of(code, reason)
        if status is None or resumed:
            # A handle that is refused is not tried again.
            how = f"closed the session: {told}" if code is not None else "cut off the session."
            return SessionLost(ProviderUnavailable(f"{self._vendor.title} {how}"))
        if status == BAD_REQUEST and self._begun:
            # The setup was taken; what goes on in a session is no mistake of whoever asked for it.
            return ProviderError(f"{self._vendor.title} closed the session: {told}")
        return self._vendor.failure(Fault(told), status=status)
