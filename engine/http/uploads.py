"""Files that come with a form: streamed to disk, never held whole in memory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import IO

from aiohttp import BodyPartReader, MultipartReader, web

from engine.api.errors import FrameTooLarge, InvalidRequest, UnsupportedMedia
from engine.api.routes import Upload
from engine.api.temporary import disk_errors, write_temporary

IN_MEMORY = 1 << 20
"""Bytes of a file that stay in memory; a larger one goes to disk."""

LONGEST_FIELD = 64 << 10
MOST_FIELDS = 100
_PIECE = 256 << 10


async def read_form(request: web.Request, name: str, most: int) -> tuple[list[tuple[str, str]], Upload]:
    """The fields of a form in their order, and the file in its field `name`, which is its caller's to close.

    Raises `UnsupportedMedia` for what is no form, `FrameTooLarge` past `most` bytes, and `InvalidRequest`.
    """
    if request.content_type != "multipart/form-data":
        raise UnsupportedMedia(f"the body is of type {request.content_type[:80]}; send a form, multipart/form-data")
    fields: list[tuple[str, str]] = []
    upload: Upload | None = None
    try:
        form: MultipartReader = await request.multipart()
        async for part in form:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise InvalidRequest("each part of the form has a name")
            if part.name == name:
                if upload is not None:
                    raise InvalidRequest(f"{name} stands in the form more than once; send one file", field=name)
                upload = await _store(part, most)
            elif part.filename is not None:
                raise InvalidRequest(f"the file came in the field {part.name[:80]!r}; send it in {name!r}", field=name)
            else:
                fields.append((part.name, await _text(part)))
            if len(fields) > MOST_FIELDS:
                raise InvalidRequest(f"the form has more than {MOST_FIELDS} fields")
        if upload is None:
            raise InvalidRequest(f"{name} is missing; send the file in the form's field of that name", field=name)
    except (ValueError, AssertionError, EOFError):
        _close(upload)
        raise InvalidRequest("the form is malformed or cut off") from None
    except BaseException:
        _close(upload)
        raise
    return fields, upload


async def _store(part: BodyPartReader, most: int) -> Upload:
    # Closed by whoever takes the upload.
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
    size = 0
    try:
        while piece := await part.read_chunk(_PIECE):
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


async def _text(part: BodyPartReader) -> str:
    data = bytearray()
    while piece := await part.read_chunk(8192):
        data += piece
        if len(data) > LONGEST_FIELD:
            raise InvalidRequest(f"a field has at most {LONGEST_FIELD} bytes", field=part.name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{part.name} is no text in UTF-8", field=part.name) from None


def _close(upload: Upload | None) -> None:
    if upload is not None:
        upload.close()
