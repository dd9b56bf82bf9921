"""The chat provider: from what the engine asks to what Acme is asked, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from engine.api import ChatDeltas, ChatRequest, Finish, ProviderRole, TextDelta, Usage

from betterai_acme.settings import AcmeSettings


class AcmeChat:
    """Answers as `acme/<any model>`."""

    role: ClassVar[ProviderRole] = "chat"
    name = "acme"

    def __init__(self, settings: AcmeSettings) -> None:
        self._key = settings.api_key

    @property
    def unavailable(self) -> str | None:
        """What the operator has to set before this provider can serve, or None."""
        return None if self._key else "Acme needs an API key: set ACME_API_KEY or [plugins.acme] api_key."

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas]:
        """Yield the answer piece by piece. Leaving this generator must close the connection to the vendor."""
        heard = request.messages[-1].text.split()  # the vendor's call goes here
        for word in heard:
            yield TextDelta(f"{word} ")
        yield Usage(input_tokens=len(heard), output_tokens=len(heard))
        yield Finish("stop")
