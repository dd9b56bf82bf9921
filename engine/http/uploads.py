"""Files that come with a form: streamed to disk, never held whole in memory."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web

from engine.api.errors import (
    EngineError,
    FrameTooLarge,
    InvalidRequest,
    LimitExceeded,
    UnsupportedMedia,
)
from engine.api.identity import Principal
from engine.api.routes import Upload
from engine.api.temporary import disk_errors, write_temporary
from engine.http.arriving import Pace

IN_MEMORY = 1 << 20
"""Bytes of a file that stay in memory; a larger one goes to disk."""

LONGEST_FIELD = 64 << 10
MOST_FIELDS = 100
_PIECE = 256 << 10
_PLAIN = ("binary", "8bit", "7bit")

T = TypeVar("T")


class UploadPlaces:
    """Forms that may come at a time: `most` in all, `each` of one principal."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, principal: Principal) -> Iterator[None]:
        """A place for as long as a form comes; raises `LimitExceeded` where none is free."""
        self._admit("you send", self._held[principal.id], self._each)
        self._admit("the server receives", self._held.total(), self._most)
        self._held[principal.id] += 1
        try:
            yield
        finally:
            self._held[principal.id] -= 1
            self._held += Counter()  # without those that hold none

    def _admit(self, who: str, count: int, most: int) -> None:
        if count >= most:
            raise LimitExceeded(
                f"{who} {count} files already; send this when one has ended", retry_after=5.0, limit=most, remaining=0
            )


async def read_form(
    request: web.Request, name: str, most: int, patience: float = 30.0
) -> tuple[list[tuple[str, str]], Upload]:
    """The fields of a form in their order, and the file in its field `name`, which is its caller's to close.

    Raises `UnsupportedMedia` for what is no form, `FrameTooLarge` past `most` bytes, `RequestTimeout` where it stops to
    come, `StorageUnavailable` where the disk cannot take it, and `InvalidRequest`.
    """
    if request.content_type != "multipart/form-data":
        raise UnsupportedMedia(f"the body is of type {request.content_type[:80]}; send a form, multipart/form-data")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMedia("a form is sent as it is, without Content-Encoding")
    pace = Pace(patience)
    fields: list[tuple[str, str]] = []
    upload: Upload | None = None
    try:
        form: MultipartReader = await _told(request.multipart, name)
        while (part := await _told(lambda: pace.next(form.next), name)) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise InvalidRequest(f"each part of the form has a name, the file's is {name}", field=name)
            _require_plain(part)
            if part.name == name:
                if upload is not None:
                    raise InvalidRequest(f"{name} stands in the form more than once; send one file", field=name)
                upload = await _store(part, most, pace)
            elif part.filename is not None:
                raise InvalidRequest(f"the file came in the field {part.name[:80]!r}; send it in {name!r}", field=name)
            else:
                fields.append((part.name, await _text(part, pace)))
            if len(fields) > MOST_FIELDS:
                raise InvalidRequest(f"the form has more than {MOST_FIELDS} fields", limit=MOST_FIELDS)
        if upload is None:
            raise InvalidRequest(f"{name} is missing; send the file in the form's field of that name", field=name)
    except BaseException:
        _close(upload)
        raise
    return fields, upload


def _require_plain(part: BodyPartReader) -> None:
    """Parts of a form are sent as they are (RFC 7578, section 4.7)."""
    for header, plain in (("Content-Encoding", ("identity",)), ("Content-Transfer-Encoding", _PLAIN)):
        if part.headers.get(header, plain[0]).strip().lower() not in plain:
            raise UnsupportedMedia(f"a part of a form is sent as it is, without {header}", field=part.name)


async def _told(read: Callable[[], Awaitable[T]], field: str | None) -> T:
    """What `read` makes of the form's bytes: whatever it stumbles over is the sender's mistake, and no word of it is told.

    `field` is the one that is read; between the fields it is the file's, without which the form is nothing.
    """
    try:
        return await read()
    except (EngineError, ConnectionError, web.RequestPayloadError):
        raise
    except Exception:
        raise InvalidRequest("the form is malformed or cut off", field=field) from None


async def _store(part: BodyPartReader, most: int, pace: Pace) -> Upload:
    # Closed by whoever takes the upload.
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
    size = 0
    try:
        while piece := await _piece(part, _PIECE, pace):
            size += len(piece)
            if size > most:
                raise FrameTooLarge(f"a file has at most {most} bytes", field=part.name, limit=most)
            await write_temporary(file, piece)
        with disk_errors():
            file.seek(0)
    except BaseException:
        # On a full disk what is left has no place.
        with suppress(OSError):
            file.close()
        raise
    return Upload(part.filename or "", part.headers.get("Content-Type", "application/octet-stream"), size, file)


async def _piece(part: BodyPartReader, most: int, pace: Pace) -> bytes:
    return bytes(await _told(lambda: pace.next(lambda: part.read_chunk(most)), part.name))


async def _text(part: BodyPartReader, pace: Pace) -> str:
    data = bytearray()
    while piece := await _piece(part, 8192, pace):
        data += piece
        if len(data) > LONGEST_FIELD:
            raise InvalidRequest(f"a field has at most {LONGEST_FIELD} bytes", field=part.name, limit=LONGEST_FIELD)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{part.name} is no text in UTF-8", field=part.name) from None


def _close(upload: Upload | None) -> None:
    if upload is not None:
        upload.close()
