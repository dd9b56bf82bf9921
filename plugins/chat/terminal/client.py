"""The chat client's protocol part: turns that survive the loss of their connection. Knows nothing of terminals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from engine.api.events import Event
from engine.wire.address import http_address
from plugins.chat.terminal.backoff import Backoff, Outage
from plugins.chat.terminal.banner import Answering
from plugins.chat.terminal.connection import READY_WITHIN, Connection
from plugins.chat.terminal.errors import AskAgain, Dropped, GaveUp, NoServer
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost
from plugins.chat.terminal.turn import Turn

MODELS_WITHIN = 3.0
"""Seconds that the server has to name its models: a person waits for the prompt."""


class ChatClient:
    """Holds one session with a server, and one turn at a time.

    `url` is the address of the server's WebSocket, `key` an API key for the handshake; `ready_within` bounds the handshake,
    and the wait for the session, in seconds.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        backoff: Backoff | None = None,
        ready_within: float = READY_WITHIN,
    ) -> None:
        self.url = url
        self._key = key
        self._backoff = backoff or Backoff()
        self._ready_within = ready_within
        self._http: aiohttp.ClientSession | None = None
        self._connection: Connection | None = None
        self._turn: Turn | None = None
        self._met = False

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
        if self._http is not None:
            await self._http.close()

    async def connect(self) -> None:
        """Open the session now and not with the first turn; raises `NoServer` or `Refused`."""
        try:
            await self._connected()
        except Dropped:
            raise NoServer(self.url) from None

    @property
    def address(self) -> str:
        """The server as people and browsers name it."""
        return http_address(self.url)

    @property
    def version(self) -> str:
        """The version of the server that is connected now; empty without one."""
        return self._connection.version if self._connection is not None else ""

    async def models(self) -> Answering | None:
        """The models of the server, or None where it does not say them in time: a talk goes without."""
        if self._http is None:
            raise RuntimeError("a ChatClient is used inside `async with`")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with (
                asyncio.timeout(MODELS_WITHIN),
                self._http.get(f"{self.address}/api/v1/models", headers=headers) as answer,
            ):
                return msgspec.json.decode(await answer.read(), type=Answering)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
            return None

    async def send(
        self,
        text: str,
        *,
        model: str | None = None,
        conversation: str | None = None,
        instructions: str | None = None,
    ) -> AsyncGenerator[ClientEvent, None]:
        """Run one turn: what the server tells, each event once and in order, up to and with `stream.ended`.

        A lost connection is told as `ConnectionLost`, and the turn goes on over the next one. Raises `NoServer` when there
        never was a server, `GaveUp` when it does not come back, `Refused` when it will not serve the turn. Whoever stops
        reading early leaves the turn running on the server.
        """
        fields = {"input": text, "model": model, "conversation": conversation, "instructions": instructions}
        turn = self._turn = Turn({name: value for name, value in fields.items() if value is not None})
        outage = Outage(self._backoff)
        told = False
        try:
            while not turn.ended:
                asked_behind = turn.last
                try:
                    connection = await self._connected(running=turn.stream is not None)
                    await connection.send(turn.ask())
                    while not turn.ended:
                        events = turn.take(await connection.receive())
                        await _post(connection, turn)
                        for event in events:
                            if isinstance(event, Event):
                                outage.over()
                            told = False
                            yield event
                except (AskAgain, Dropped) as reason:
                    # A connection that was asked again and then sent nothing is as good as gone.
                    if isinstance(reason, AskAgain) and turn.last != asked_behind:
                        continue
                    await self._leave()
                    if not self._met:
                        raise NoServer(self.url) from None
                    if not told:
                        told = True
                        yield ConnectionLost()
                    if not await outage.pause():
                        raise GaveUp(self.url, self._backoff.patience) from None
        finally:
            self._turn = None
            if not turn.ended:
                # Its events would come in between those of the next turn.
                await self._leave()

    async def cancel(self) -> bool:
        """Ask the server to stop the running turn; its stream then ends with status `cancelled`.

        False where there is no turn, or no connection to ask over. The server is then asked when it is back.
        """
        turn, connection = self._turn, self._connection
        if turn is None:
            return False
        turn.cancel()
        if connection is None or not connection.alive:
            return False
        try:
            await _post(connection, turn)
        except Dropped:
            return False
        return True

    async def _connected(self, *, running: bool = False) -> Connection:
        """The open connection, or another one. One that drains takes no new turn, but tells a running one to its end."""
        connection = self._connection
        if connection is not None and connection.alive and (running or not connection.draining):
            return connection
        await self._leave()
        if self._http is None:
            raise RuntimeError("a ChatClient is used inside `async with`")
        self._connection = await Connection.open(self._http, self.url, self._key, ready_within=self._ready_within)
        self._met = True
        return self._connection

    async def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _post(connection: Connection, turn: Turn) -> None:
    while turn.outbox:
        await connection.send(turn.outbox.popleft())
