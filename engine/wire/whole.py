"""Whether bytes that came so far are a whole JSON document."""

from __future__ import annotations

from msgspec import DecodeError, Raw
from msgspec.json import Decoder

_read = Decoder(Raw).decode
_ODD = (b"NaN", b"Infinity", b"\\u")


def is_whole_json(text: bytes) -> bool:
    """True for one whole JSON document, with blanks around it or not."""
    try:
        _read(text)
    except DecodeError:
        # Python's own JSON has NaN and halves of characters, which this decoder refuses: what closes as it opened is whole.
        bare = text.strip()
        return bare[:1] == b"{" and bare[-1:] == b"}" and any(odd in bare for odd in _ODD)
    return True
