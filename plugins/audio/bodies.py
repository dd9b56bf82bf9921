"""What clients send to have something heard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, InstanceOf, WithJsonSchema

from engine.api import Body, Upload
from engine.wire.bounds import Options


class ListeningOptions(Body):
    """Who listens, and to what."""

    model: str | None = Field(
        default=None, max_length=200, description="As for chat: a name of the catalogue, vendor/model, or local."
    )
    language: str | None = Field(
        default=None, max_length=35, description="BCP 47 tag of what is spoken; absent: it is found out."
    )
    prompt: str | None = Field(default=None, max_length=4_000, description="Words to expect.")
    translate: bool = Field(default=False, description="Write in English what is spoken in another language.")
    diarize: bool = Field(default=False, description="Tell who speaks.")
    words: bool = Field(default=False, description="Tell the time of each word.")
    recording_id: str | None = Field(
        default=None,
        max_length=200,
        description="Echoed in `extra` of the terminal event, to know what may be forgotten.",
    )


class AudioStart(ListeningOptions):
    """`audio.start`: binary frames with the number of the accepted stream follow."""

    sample_rate: int = Field(default=16_000, ge=8_000, le=48_000, description="Samples a second, of one channel.")
    encoding: Literal["pcm_s16le", "mulaw", "alaw"] = Field(
        default="pcm_s16le",
        description="Samples of 16 bits, little-endian, or a byte for each: G.711 of a telephone line.",
    )
    provider_options: Options = Field(default_factory=dict, description="Added to the vendor's request as they are.")


class AudioFinish(Body):
    """No more audio comes."""

    stream: str = Field(max_length=64)


class FileOptions(ListeningOptions):
    """The fields of a form that brings a recording."""

    model_config = ConfigDict(strict=False)


class Transcribe(ListeningOptions):
    """`audio.transcribe`: a recording that came with a form."""

    file: Annotated[InstanceOf[Upload], WithJsonSchema({"description": "The recording."})] = Field(exclude=True)
