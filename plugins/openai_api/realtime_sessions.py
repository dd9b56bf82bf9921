"""Makes realtime sessions over the models of this server."""

from __future__ import annotations

from typing import Any, Literal

from engine.api import EngineError, InvalidRequest, Providers, RealtimeRequest
from engine.api.ids import random_hex
from plugins.openai_api.hints import Hints
from plugins.openai_api.naming import realtime_named, transcription_named
from plugins.openai_api.realtime_bodies import SessionBody, TranscriptionBody
from plugins.openai_api.realtime_session import RealtimeSession, Session, TranscriptionSession
from plugins.vendors.openai_voices import VOICES


class Sessions:
    """Finds the models that clients name; a bare name that nobody knows is the default vendor's."""

    def __init__(self, providers: Providers, default_vendor: str) -> None:
        self._providers = providers
        self._default_vendor = default_vendor

    def answering(self, model: str | None) -> RealtimeSession:
        """A session with a model that holds calls; None is the configured default. Raises where there is none."""
        return RealtimeSession(_new_id(), realtime_named(self._providers, model, self._default_vendor))

    def listening(self, model: str | None) -> TranscriptionSession:
        """A session with a transcriber, likewise."""
        return TranscriptionSession(_new_id(), model, self._transcriber)

    def of(self, body: SessionBody | TranscriptionBody, model: str | None = None) -> Session:
        """The session that a body asks for."""
        if isinstance(body, TranscriptionBody):
            session: Session = self.listening(model)
        else:
            session = self.answering(body.model or model)
        return self.updated(session, body)[0]

    def updated(
        self,
        session: Session,
        body: SessionBody | TranscriptionBody,
        hints: Hints | None = None,
        refused: list[EngineError] | None = None,
    ) -> tuple[Session, dict[str, Any]]:
        """The session as a body changes it, and the fields of `realtime.update` for it.

        A voice that the model does not have is put into `refused`, or raised without; one of OpenAI's is its default one.
        Until its call has begun, a session that answers may become one that only listens, and the other way round.
        """
        if session.type != body.type:
            session = self._turned(session, body)
        if isinstance(session, RealtimeSession):
            assert isinstance(body, SessionBody)
            hints = hints or Hints()
            voice, instead_of = self._voice(session, body, hints, refused)
            bound = self._bound(session, body, hints)
            return session, session.update(body, voice, instead_of=instead_of, bound=bound)
        assert isinstance(body, TranscriptionBody)
        return session, session.update(body)

    def _voice(
        self, session: RealtimeSession, body: SessionBody, hints: Hints, refused: list[EngineError] | None
    ) -> tuple[str | None, str | None]:
        """The voice that is taken, None where none is, and the one of OpenAI's that it stands in for."""
        out = body.audio.output if body.audio is not None else None
        if out is None or out.voice is None:
            return None, None
        voice = out.voice if isinstance(out.voice, str) else out.voice.id
        model = self._providers.realtime(session.model)
        try:
            model.check(RealtimeRequest(model=model.target.model, voice=voice))
        except EngineError as error:
            if error.field != "voice":
                return voice, None
            if voice in VOICES:
                hints.drop(VOICE)
                return DEFAULT, voice
            error.field = VOICE
            if refused is None:
                raise
            refused.append(error)
            return None, None
        return voice, None

    def _bound(self, session: RealtimeSession, body: SessionBody, hints: Hints) -> int | Literal["inf"] | None:
        """The bound of answers that is set, where the model takes one; None where nothing is said of it."""
        bound = body.max_output_tokens
        if not isinstance(bound, int):
            return bound
        model = self._providers.realtime(session.model)
        try:
            model.check(RealtimeRequest(model=model.target.model, max_output_tokens=bound))
        except EngineError as error:
            if error.field == "max_output_tokens":
                hints.drop("session.max_output_tokens")
                return None
        return bound

    def _turned(self, session: Session, body: SessionBody | TranscriptionBody) -> Session:
        if session.started:
            raise InvalidRequest(f"this is a session of type {session.type!r}; it cannot change", field="session.type")
        other: Session = (
            self.listening(session.ear) if isinstance(body, TranscriptionBody) else self.answering(body.model)
        )
        other.id, other.ears = session.id, session.ears
        return other

    def _transcriber(self, model: str | None) -> str | None:
        return transcription_named(self._providers, model, self._default_vendor)


VOICE = "session.audio.output.voice"
DEFAULT = "default"


def _new_id() -> str:
    return f"sess_{random_hex(12)}"
