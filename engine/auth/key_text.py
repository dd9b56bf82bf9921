"""The text of an API key: `bai_<public id>_<secret>`, where the id names the key and the secret proves it."""

from __future__ import annotations

import re
import secrets

from engine.api.errors import Unauthenticated

PREFIX = "bai"

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 12
_SECRET_BYTES = 32
_SECRET_LENGTH = 43  # of 32 bytes in URL-safe Base64 without padding

_ID = re.compile(rf"[{_ID_LETTERS}]{{{_ID_LENGTH}}}")
_KEY = re.compile(rf"{PREFIX}_({_ID.pattern})_[A-Za-z0-9_-]{{{_SECRET_LENGTH}}}")


def new_key() -> tuple[str, str]:
    """The public id and the whole text of a key that nobody can guess: its secret has 256 random bits."""
    id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    return id, f"{PREFIX}_{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def is_public_id(text: str) -> bool:
    """Whether a text has the form of a public id."""
    return _ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether a text has the form of a key of this server, or begins like one."""
    return text.startswith(f"{PREFIX}_")


def public_id(key: str) -> str:
    """The public id in the text of a key; raises Unauthenticated when the text is no key at all."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise Unauthenticated(
            f"what was sent is no API key of this server; one has the form {PREFIX}_<id>_<secret>, "
            f"{len(PREFIX) + _ID_LENGTH + _SECRET_LENGTH + 2} characters in all"
        )
    return found[1]
