"""How the audio of a call is written on the wire."""

from __future__ import annotations

from typing import Literal, Protocol

from engine.api import InvalidFrame
from engine.wire.g711 import LAWS, Law

Encoding = Literal["pcm_s16le", "mulaw", "alaw"]


class Codec(Protocol):
    """Samples of 16 bits to what the client sends and gets, and back."""

    @property
    def name(self) -> str:
        """As `lane.started` tells it."""
        ...

    def check(self, payload: bytes) -> None:
        """Raise `InvalidFrame` for what cannot be whole samples."""
        ...

    def decode(self, payload: bytes) -> bytes:
        """To samples."""
        ...

    def encode(self, pcm: bytes) -> bytes:
        """From samples."""
        ...


def codec(encoding: Encoding) -> Codec:
    """The one of a name."""
    return Plain() if encoding == "pcm_s16le" else Telephone(encoding)


class Plain:
    """Samples as they are."""

    name = "pcm"

    def check(self, payload: bytes) -> None:
        if len(payload) % 2:
            raise InvalidFrame(f"a sample has 2 bytes, so that a frame has an even number of them, not {len(payload)}")

    def decode(self, payload: bytes) -> bytes:
        return payload

    def encode(self, pcm: bytes) -> bytes:
        return pcm


class Telephone:
    """One byte for each sample, as telephone lines have it (ITU-T G.711)."""

    def __init__(self, law: Law) -> None:
        self.name = law
        self._law = LAWS[law]

    def check(self, payload: bytes) -> None:
        """Any bytes are samples."""

    def decode(self, payload: bytes) -> bytes:
        return self._law.decode(payload)

    def encode(self, pcm: bytes) -> bytes:
        return self._law.encode(pcm)
