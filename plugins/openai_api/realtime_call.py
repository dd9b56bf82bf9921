"""The call behind one realtime connection: it begins with the first event that needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from engine.api import Commands, EngineError, Overloaded, Principal, StreamReader
from plugins.openai_api.realtime_session import Session

PIECE = 48_000
"""Bytes of audio that are given to the call at once."""

PATIENCE = 60.0
"""Seconds that a piece of audio waits for the model."""

_PAUSE = 0.1

_SPELLINGS = {
    "voice": "session.audio.output.voice",
    "language": "session.audio.input.transcription.language",
    "instructions": "session.instructions",
    "encoding": "session.audio.input.format",
    "model": "session.model",
    "max_output_tokens": "session.max_output_tokens",
    "transcription_model": "session.audio.input.transcription.model",
    "prompt": "session.audio.input.transcription.prompt",
    "transcription_prompt": "session.audio.input.transcription.prompt",
}


class RealtimeCall:
    """Runs `realtime.*` for one caller. `tell` is run with the call's stream once there is one."""

    def __init__(
        self, commands: Commands, principal: Principal, tell: Callable[[StreamReader], Awaitable[None]]
    ) -> None:
        self._commands = commands
        self._principal = principal
        self._tell = tell
        self._reader: StreamReader | None = None
        self._telling: asyncio.Task[None] | None = None
        self.fed = 0
        """Bytes of audio that were taken."""
        self._n = 0

    async def begin(self, session: Session) -> str:
        """The call's stream. Until it begins anything of the session may be set."""
        if self._reader is None:
            try:
                self._reader = await self._commands.start(
                    self._principal, "realtime.start", session.start(), on_disconnect="cancel"
                )
            except EngineError as error:
                error.field = _SPELLINGS.get(error.field or "", error.field)
                raise
            session.started = True
            self._telling = asyncio.create_task(self._told(self._reader), name="realtime events")
        return self._reader.stream

    async def _told(self, reader: StreamReader) -> None:
        await self._tell(reader)

    async def do(self, session: Session, name: str, **fields: Any) -> None:
        """Run a command on the call."""
        stream = await self.begin(session)
        await self._commands.call(self._principal, f"realtime.{name}", {"stream": stream, **fields})

    async def feed(self, session: Session, audio: bytes) -> None:
        """Give it the client's audio, however long it is; raises `Overloaded` where the model takes none for long."""
        stream = await self.begin(session)
        # A second of the finest form that a session has, and six of a telephone's.
        for at in range(0, len(audio), PIECE):
            await self._feed(stream, audio[at : at + PIECE])

    async def _feed(self, stream: str, piece: bytes) -> None:
        self._n += 1
        try:
            # The socket waits with it, so that the client waits, too, and nothing is lost.
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(Overloaded):
                        self._commands.feed(self._principal, stream, self._n, piece)
                        break
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            self._n -= 1
            raise Overloaded(
                f"the model has taken no audio for {PATIENCE:g} s; the rest of this audio is lost"
            ) from None
        except EngineError:
            self._n -= 1
            raise
        self.fed += len(piece)

    def hang_up(self) -> None:
        """End the call, up to the vendor."""
        if self._reader is not None:
            self._reader.cancel()

    async def close(self) -> None:
        """Hang up, and tell nothing more."""
        self.hang_up()
        if self._telling is not None:
            self._telling.cancel()
        try:
            if self._telling is not None:
                await asyncio.gather(self._telling, return_exceptions=True)
        finally:
            if self._reader is not None:
                self._reader.close()
