"""`/v1/realtime/client_secrets`: short-lived keys for pages, each bound to a session (types: `openai.types.realtime`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from engine.api import Answer, Body, EngineError, HttpRequest, InvalidRequest, Passes, Route, Unauthenticated
from plugins.openai_api.hints import Hints
from plugins.openai_api.realtime_bodies import AnySessionBody, SessionBody, TranscriptionBody, of_a_type
from plugins.openai_api.realtime_session import Session
from plugins.openai_api.realtime_sessions import Sessions
from plugins.openai_api.realtime_wishes import sort_session
from plugins.openai_api.responses_errors import answer_error

PURPOSE = "realtime"
"""Of the passes that open a session."""


class ExpiresAfter(Body):
    """For how long the key opens sessions; one that is open lasts on."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7_200)


def _sorted(told: Any) -> Any:
    """A session without the hints in it; raises the first demand that could not be met."""
    if not isinstance(told, dict):
        return told
    session, refused = sort_session(told, Hints())
    for error in refused:
        raise error
    return of_a_type(session)


class ClientSecretBody(Body):
    """What a key is to be good for."""

    expires_after: ExpiresAfter = Field(default=ExpiresAfter(), description="For how long, from now on.")
    session: Annotated[AnySessionBody, BeforeValidator(_sorted)] = Field(
        default=SessionBody(), description="The session that it opens, as session.update sets it."
    )


class ClientSecret(msgspec.Struct, kw_only=True):
    """A key for a page. `expires_at` counts seconds since 1970."""

    value: str
    expires_at: int
    session: dict[str, Any]


class _Bound(Body):
    """What a key holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: AnySessionBody


class ClientSecrets:
    """Makes keys for pages, and the sessions that they open."""

    def __init__(self, passes: Passes, sessions: Sessions) -> None:
        self._passes = passes
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="POST",
                path="/v1/realtime/client_secrets",
                handler=self.create,
                body=ClientSecretBody,
                body_optional=True,
                returns=ClientSecret,
                errors=answer_error,
                summary="A key for a page, that opens one kind of session for a short time.",
                tag="openai",
                statuses={404: "model_not_found, feature_disabled", 503: "model_unavailable"},
            )
        ]

    async def create(self, request: HttpRequest[ClientSecretBody | None, None]) -> Answer:
        """Make a key; a session that could not be opened is an error now."""
        body = request.body or ClientSecretBody()
        try:
            session = self._sessions.of(body.session)
        except EngineError as error:
            if error.field == "model":
                error.field = "session.model"
            raise
        # What was not set stays open, and an explicit null is one.
        held = {"type": body.session.type, **body.session.model_dump(mode="json", exclude_unset=True)}
        try:
            made = self._passes.issue(
                request.principal, PURPOSE, seconds=body.expires_after.seconds, detail={"session": held}
            )
        except InvalidRequest as error:
            error.field = "session"
            error.message += "; set less in it, and the rest with session.update"
            raise
        secret = ClientSecret(value=made.text, expires_at=made.expires_at, session=session.shown())
        return Answer(secret, headers={"Cache-Control": "no-store"})

    def bound(self, granted: Any, model: str | None, *, listens: bool) -> Session:
        """The session that a key opens. Raises InvalidRequest where the address asks for another one."""
        try:
            body = _Bound.model_validate(granted).session
        except ValidationError:
            raise Unauthenticated("this key was made by another version of the server; make another one") from None
        own = _transcriber(body) if isinstance(body, TranscriptionBody) else body.model
        if model is not None and own not in (None, model):
            raise InvalidRequest(f"this key opens sessions with the model {own!r} only", field="model")
        if listens and not isinstance(body, TranscriptionBody):
            raise InvalidRequest("this key opens sessions of type 'realtime' only", field="intent")
        return self._sessions.of(body, model)


def _transcriber(body: TranscriptionBody) -> str | None:
    into = body.audio.input if body.audio is not None else None
    return into.transcription.model if into is not None and into.transcription is not None else None
