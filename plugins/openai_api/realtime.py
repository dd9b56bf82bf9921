"""`/v1/realtime`: OpenAI's realtime sessions over any model that holds calls (types: `openai.types.realtime`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.api import Body, Commands, HttpRequest, PluginContext, Route, Upgrade
from plugins.openai_api.realtime_conversation import Conversation
from plugins.openai_api.realtime_secrets import PURPOSE, ClientSecrets
from plugins.openai_api.realtime_session import Session
from plugins.openai_api.realtime_sessions import Sessions
from plugins.openai_api.responses_errors import answer_error

PROTOCOL = "realtime"


class RealtimeQuery(Body):
    """Who is called, and what for."""

    model_config = {"strict": False, "extra": "forbid", "frozen": True}

    model: str | None = Field(
        default=None,
        max_length=200,
        description="A realtime model, or a transcriber; absent: [models] realtime, or transcription.",
    )
    intent: Literal["transcription"] | None = Field(
        default=None, description="transcription: what is said is written, and nothing answered."
    )


class Realtime:
    """Opens sessions."""

    def __init__(self, context: PluginContext, default_vendor: str, *, strict: bool = False) -> None:
        self._strict = strict
        self._commands: Commands = context.commands
        self._sessions = Sessions(context.providers, default_vendor)
        self._secrets = ClientSecrets(context.passes, self._sessions)

    def routes(self) -> list[Route]:
        """The socket, and the keys for it."""
        return [
            *self._secrets.routes(),
            Route(
                method="GET",
                path="/v1/realtime",
                handler=self.open,
                query=RealtimeQuery,
                socket=True,
                passes=PURPOSE,
                errors=answer_error,
                summary="A conversation by voice, as a WebSocket with OpenAI's realtime events.",
                tag="openai",
                statuses={404: "model_not_found, feature_disabled", 503: "model_unavailable"},
            ),
        ]

    async def open(self, request: HttpRequest[None, RealtimeQuery]) -> Upgrade:
        """Agree to a session; a model that is not there is an HTTP error."""
        session = self._session(request)
        conversation = Conversation(self._commands, request.principal, self._sessions, session, strict=self._strict)
        return Upgrade(conversation.serve, (PROTOCOL,))

    def _session(self, request: HttpRequest[None, RealtimeQuery]) -> Session:
        model, listens = request.query.model, request.query.intent == "transcription"
        if request.granted is not None:
            return self._secrets.bound(request.granted, model, listens=listens)
        return self._sessions.listening(model) if listens else self._sessions.answering(model)
