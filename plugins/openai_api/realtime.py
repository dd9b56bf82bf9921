"""`/v1/realtime`: OpenAI's realtime sessions over any model that holds calls (types: `openai.types.realtime`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.api import Body, Commands, HttpRequest, Providers, Route, Upgrade
from plugins.openai_api.realtime_conversation import Conversation
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

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str) -> None:
        self._commands = commands
        self._sessions = Sessions(providers, default_vendor)

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="GET",
                path="/v1/realtime",
                handler=self.open,
                query=RealtimeQuery,
                socket=True,
                errors=answer_error,
                summary="A conversation by voice, as a WebSocket with OpenAI's realtime events.",
                tag="openai",
                statuses={404: "model_not_found, feature_disabled", 503: "model_unavailable"},
            )
        ]

    async def open(self, request: HttpRequest[None, RealtimeQuery]) -> Upgrade:
        """Agree to a session; a model that is not there is an HTTP error."""
        query, sessions = request.query, self._sessions
        listens = query.intent == "transcription"
        session = sessions.listening(query.model) if listens else sessions.answering(query.model)
        conversation = Conversation(self._commands, request.principal, sessions, session)
        return Upgrade(conversation.serve, (PROTOCOL,))
