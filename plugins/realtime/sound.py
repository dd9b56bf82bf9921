"""How the audio of a call is written on the wire."""

from __future__ import annotations

from typing import Literal, Protocol

from engine.api import InvalidFrame, UnsupportedMedia

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
    if encoding != "pcm_s16le":
        raise UnsupportedMedia(f"{encoding} is not written here; pcm_s16le is", field="encoding")
    return Plain()


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
