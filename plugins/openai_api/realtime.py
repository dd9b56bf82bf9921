"""`/v1/realtime`: OpenAI's realtime sessions over any model that holds calls (types: `openai.types.realtime`)."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from engine.api import Body, Commands, HttpRequest, Providers, Route, Upgrade
from engine.api.ids import random_hex
from plugins.openai_api.naming import realtime_named
from plugins.openai_api.realtime_conversation import Conversation
from plugins.openai_api.realtime_session import RealtimeSession
from plugins.openai_api.responses_errors import answer_error

PROTOCOL = "realtime"


class RealtimeQuery(Body):
    """Who is called."""

    model_config = {"strict": False, "extra": "forbid", "frozen": True}

    model: str | None = Field(default=None, max_length=200, description="A realtime model; absent: [models] realtime.")


class Realtime:
    """Opens sessions."""

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str) -> None:
        self._commands = commands
        self._providers = providers
        self._default_vendor = default_vendor

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
        model = realtime_named(self._providers, request.query.model, self._default_vendor)
        session = RealtimeSession(f"sess_{random_hex(12)}", model)
        return Upgrade(partial(Conversation(self._commands, request.principal, session).serve), (PROTOCOL,))
