"""Attachments in the form that OpenAI's two chat APIs share."""

from __future__ import annotations

from engine.api import AudioPart, FilePart, ImagePart, InvalidRequest

DEFAULT_MEDIA = {"image": "image/png", "file": "application/pdf"}


def image_url(part: ImagePart) -> str:
    """The picture's address, or its content as a data URL."""
    return part.url or _data_url(part.data, part.media_type or DEFAULT_MEDIA["image"], "image")


def file_data(part: FilePart) -> str:
    """The document's content as a data URL."""
    return _data_url(part.data, part.media_type or DEFAULT_MEDIA["file"], "file")


def file_name(part: FilePart) -> str:
    """The document's name; OpenAI wants one with any content."""
    return part.name or "document.pdf"


def input_audio(part: AudioPart) -> dict[str, str]:
    """The recording as both chat APIs nest it."""
    return {"data": part.data, "format": part.format}


def _data_url(data: str | None, media_type: str, kind: str) -> str:
    if not data:
        raise InvalidRequest(f"A part of type {kind} has neither url nor data; give one of them.", field="input")
    return f"data:{media_type};base64,{data}"
