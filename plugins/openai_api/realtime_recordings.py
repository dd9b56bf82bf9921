"""Recordings in the messages of a realtime session: heard whole, and written."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from engine.api import Commands, ErrorBody, InvalidRequest, Principal, Upload
from engine.wire.g711 import LAWS
from engine.wire.wav import wav_header
from plugins.openai_api.realtime_client_events import Message, Recording, decoded
from plugins.openai_api.realtime_session import Ears, Session


@dataclass(frozen=True, slots=True)
class Written:
    """What is said in one recording, or why that is not known."""

    text: str = ""
    seconds: float = 0.0
    error: ErrorBody | None = None


class Recordings:
    """Has recordings written for one caller."""

    def __init__(self, commands: Commands, principal: Principal) -> None:
        self._commands = commands
        self._principal = principal

    async def written(self, message: Message, session: Session) -> dict[int, Written]:
        """What is said in each recording of a message, by its place in the content."""
        found: dict[int, Written] = {}
        for at, part in enumerate(message.content):
            if isinstance(part, Recording):
                if message.role != "user":
                    raise InvalidRequest("only a user's message has audio", field=f"item.content.{at}.type")
                audio = decoded(part.audio, f"item.content.{at}.audio")
                found[at] = await self._heard(_samples(audio, session.ears, at), session)
        return found

    async def _heard(self, pcm: bytes, session: Session) -> Written:
        ears = session.ears
        body: dict[str, Any] = {"file": _file(pcm, ears.rate)}
        if session.ear is not None:
            body["model"] = session.ear
        if ears.language is not None:
            body["language"] = ears.language
        seconds = len(pcm) / 2 / ears.rate
        reader = await self._commands.start(self._principal, "audio.transcribe", body, on_disconnect="cancel")
        try:
            ended = await reader.ended()
            return Written(reader.said.text, seconds, ended.error)
        finally:
            reader.close()


def _samples(audio: bytes, ears: Ears, at: int) -> bytes:
    field = f"item.content.{at}.audio"
    if not audio:
        raise InvalidRequest("there is no audio in it", field=field)
    if ears.encoding != "pcm_s16le":
        return LAWS[ears.encoding].decode(audio)
    if len(audio) % 2:
        raise InvalidRequest(
            f"a sample has 2 bytes, so that audio has an even number of them, not {len(audio)}", field=field
        )
    return audio


def _file(pcm: bytes, rate: int) -> Upload:
    content = wav_header(rate, len(pcm) // 2) + pcm
    return Upload("recording.wav", "audio/wav", len(content), io.BytesIO(content))
