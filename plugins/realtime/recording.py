"""The sound of a call's turns, kept in the object store where the operator wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from engine.api import EngineError, ObjectStore, Writer
from engine.wire.wav import wav_header

BEFORE = 1.0
"""Seconds of sound before speech was found that are kept with it: it is found a little after it began."""

LONGEST = 300.0
"""Seconds that are kept of what each side says in one turn; what is above is left out."""


class TurnSound(msgspec.Struct, frozen=True):
    """What was said in one turn, and what of its answer was heard."""

    said: bytes
    answered: bytes


class Recorder:
    """Listens to both sides of a call. Without a store it keeps nothing, and does nothing."""

    def __init__(self, store: ObjectStore | None, rate: int) -> None:
        self._store = store
        self._rate = rate
        self._most = int(LONGEST * rate) * 2
        self._lead = bytearray()
        self._said = bytearray()
        self._mark = 0
        """Where in what was said the speech began that may turn out to be none."""
        self._talking = False
        self._question = bytearray()
        self._answered = bytearray()

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self._store is not None

    def hear(self, pcm: bytes, *, manual: bool) -> None:
        """Sound of the person. Where they say themselves what a turn is, all of it may be speech."""
        if self._store is None:
            return
        if self._talking:
            self._add(self._said, pcm)
            return
        self._lead += pcm
        del self._lead[: -(self._most if manual else int(BEFORE * self._rate) * 2)]

    def speech_began(self) -> None:
        """It is speech, and was for a moment."""
        if not self._talking:
            self._talking = True
            self._mark = len(self._said)
            self._add(self._said, self._lead)
            self._lead.clear()

    def speech_ended(self) -> None:
        """It is over."""
        self._talking = False

    def no_speech(self) -> None:
        """What was taken for speech last was none, or is to be forgotten."""
        del self._said[self._mark :]
        self._lead.clear()

    def answering(self) -> None:
        """What was said up to now is what is answered."""
        self._add(self._question, self._said)
        self._said.clear()
        self._mark = 0
        self._answered.clear()

    def sent(self, pcm: bytes) -> None:
        """A piece of the answer on its way to the client."""
        if self._store is not None:
            self._add(self._answered, pcm)

    def held(self, size: int) -> None:
        """Only so many bytes of the answer were heard; if it goes on, it does so from there."""
        del self._answered[size:]

    def take(self) -> TurnSound:
        """The sound of the turn that is over."""
        sound = TurnSound(bytes(self._question), bytes(self._answered))
        self._question.clear()
        self._answered.clear()
        return sound

    def _add(self, sound: bytearray, pcm: bytes | bytearray) -> None:
        sound += pcm[: max(0, self._most - len(sound))]

    async def keep(self, stream: Writer, sound: TurnSound) -> dict[str, str]:
        """Keep the sound of a turn; gives the ids of the objects by who speaks. What cannot be kept is told, and no failure."""
        ids: dict[str, str] = {}
        for role, pcm in (("user", sound.said), ("assistant", sound.answered)):
            if self._store is None or not pcm:
                continue
            file = _once(wav_header(self._rate, len(pcm) // 2) + pcm)
            try:
                stored = await self._store.put(
                    stream.principal, file, name=f"{role}.wav", content_type="audio/wav", origin=stream.id
                )
            except EngineError as error:
                stream.status("audio_not_kept", error.message)
            else:
                ids[role] = stored.id
        return ids


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
