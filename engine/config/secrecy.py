"""What must never be shown: keys that name a secret, and secrets inside a text."""

import re

MASK = "***"

# `tokens` is a count in this field (usage, limits), `token` never is.
_SECRET_KEY = re.compile(
    r"(?:api[_-]?keys?|(?:secret|private|access)[_-]?key|authorization|token|secrets?|passwords?|passwd|cookie)$",
    re.IGNORECASE,
)
_IN_TEXT = (
    # Up to the last @ of the word: a password may hold an @ or a / that nobody escaped.
    # Up to the next address at most, so that the time grows with the text and not with its square.
    (re.compile(r"(://)(?:(?!://)[^\s\"'<>@])*@(?:(?:(?!://)[^\s\"'<>@])*@)*"), rf"\1{MASK}@"),
    (re.compile(r"\b(bearer|basic)\s+[^\s\"',]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"([?&](?:api_?key|key|token|access_token|signature|sig)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # Our own keys, whole or cut off, and the passes that are made of them.
    (re.compile(r"\bbai_([a-z2-7]{12})_[A-Za-z0-9_-]+"), rf"bai_\1_{MASK}"),
    (re.compile(r"\bek_[A-Za-z0-9_.-]{8,}"), f"ek_{MASK}"),
    (re.compile(r"\b(sk|xai|gsk|pplx|AIza|whsec|ghp)([-_]?)[A-Za-z0-9_-]{16,}"), rf"\1\2{MASK}"),
)


def names_secret(key: str) -> bool:
    """Whether a value under this key is taken for a secret, whatever it looks like."""
    return _SECRET_KEY.search(key) is not None


def mask_text(text: str) -> str:
    """The text without credentials of URLs, authorization headers, signed links and vendor keys."""
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text
