"""Signatures of thinking, as the blocks of Anthropic's dialect carry them for any vendor.

A signature is opaque to the client, who only sends it back: here it says whose it is. One without our mark is Anthropic's.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

_MARK = "betterai."


class Seal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a vendor wants back: the signature of a thought, or, with `call`, that of a tool call."""

    provider: str = "anthropic"
    signature: str | None = None
    id: str | None = None
    call: str | None = None


def sealed(seal: Seal) -> str:
    """The signature to send; Anthropic's own stays as it is."""
    if seal.provider == "anthropic" and seal.signature is not None and seal.id is None:
        return seal.signature
    return _MARK + base64.urlsafe_b64encode(msgspec.json.encode(seal)).decode()


def unsealed(signature: str) -> Seal:
    """What a signature that came back says; one that nobody made here is taken for Anthropic's, who will judge it."""
    if signature.startswith(_MARK):
        try:
            return _decode(base64.urlsafe_b64decode(signature.removeprefix(_MARK)))
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            pass
    return Seal(signature=signature)


_decode = msgspec.json.Decoder(Seal).decode
