"""How the audio of a call is written on the wire."""

from __future__ import annotations

from typing import Literal, Protocol

from engine.wire.g711 import LAWS, Law

Encoding = Literal["pcm_s16le", "mulaw", "alaw"]


class Codec(Protocol):
    """Samples of 16 bits to what the client sends and gets, and back."""

    @property
    def name(self) -> str:
        """As `lane.started` tells it."""
        ...

    def decode(self, payload: bytes) -> tuple[bytes, bytes]:
        """Whole samples, and what is left of a sample that is cut off: the next payload goes on with it."""
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

    def decode(self, payload: bytes) -> tuple[bytes, bytes]:
        whole = len(payload) - len(payload) % 2
        return payload[:whole], payload[whole:]

    def encode(self, pcm: bytes) -> bytes:
        return pcm


class Telephone:
    """One byte for each sample, as telephone lines have it (ITU-T G.711)."""

    def __init__(self, law: Law) -> None:
        self.name = law
        self._law = LAWS[law]

    def decode(self, payload: bytes) -> tuple[bytes, bytes]:
        return self._law.decode(payload), b""

    def encode(self, pcm: bytes) -> bytes:
        return self._law.encode(pcm)
