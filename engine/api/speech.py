"""What a voice is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How to speak. `model` is the vendor's own name of it; `voice` None is the provider's own choice.

    `speed` 1.0 is the voice's own. `instructions` say how to sound, for models that can be told.
    """

    model: str
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    instructions: str | None = None
    provider_options: Mapping[str, Any] = {}


class Sound(msgspec.Struct, frozen=True, gc=False):
    """A piece of speech: mono samples of 16 bits, little-endian, `rate` of them a second.

    `text` are the words whose speaking begins with it, where the voice tells.
    """

    pcm: bytes
    rate: int
    text: str = ""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / 2 / self.rate


class Voice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One voice of a provider. `languages` are BCP 47 tags; none where it speaks whatever it is given."""

    id: str
    name: str
    languages: tuple[str, ...] = ()
    description: str = ""


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the operator's account at a vendor has used of what it may, in characters.

    `used` is more than `limit` where the plan lets an account go on and charges for it. `resets_at` is when the count begins
    anew, where the vendor tells.
    """

    used: int
    limit: int
    resets_at: datetime | None = None
    plan: str = ""
