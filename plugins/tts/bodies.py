"""What clients send to have something spoken."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from engine.api import Body
from engine.wire.bounds import Options
from plugins.vendors.codecs import AudioFormat


class SpeechOptions(Body):
    """Who speaks, how, and in which form the sound goes out."""

    model: str | None = Field(
        default=None, max_length=200, description="As for chat: a name of the catalogue, vendor/model, or local."
    )
    voice: str | None = Field(
        default=None, max_length=200, description='Id of a voice; absent or "default": the provider\'s own choice.'
    )
    format: AudioFormat = Field(
        default="pcm",
        description="pcm: mono samples of 16 bits, little-endian; mulaw, alaw: a byte for each, G.711 of a telephone line.",
    )
    rate: int | None = Field(
        default=None,
        ge=8_000,
        le=48_000,
        description="Samples a second; absent: as the voice gives them, and 8000 of mulaw and alaw.",
    )
    voice_instead_of: str | None = Field(
        default=None,
        max_length=200,
        description="A voice that was asked for and is not there; a status says that another one speaks instead.",
    )
    language: str | None = Field(default=None, max_length=35, description="BCP 47 tag, for voices that speak several.")
    speed: float = Field(default=1.0, ge=0.25, le=4.0, description="1 is the voice's own.")
    instructions: str | None = Field(
        default=None, max_length=4_000, description="How to sound, for models that can be told."
    )
    clean: bool = Field(
        default=True, description="Leave out what is not to be spoken: Markdown, code, addresses, emoji."
    )
    provider_options: Options = Field(default_factory=dict, description="Added to the vendor's request as they are.")


class SpeakStart(SpeechOptions):
    """`tts.start`: with a `text` it is all there is to say; without one it comes by `tts.text`."""

    text: str | None = Field(default=None, min_length=1, description="All that is to be spoken.")


class SpeakText(Body):
    """A piece of text for a speech that runs."""

    stream: str = Field(max_length=64)
    text: str = Field(min_length=1, max_length=100_000)


class SpeakFinish(Body):
    """No more text comes."""

    stream: str = Field(max_length=64)


class SpeakPost(SpeechOptions):
    """A text to be spoken, over HTTP."""

    text: str = Field(min_length=1, description="All that is to be spoken.")
    format: AudioFormat = Field(default="mp3", description="Form of the file.")
    store: bool = Field(
        default=False,
        description="Keep the file in the object store, and answer with a link to it in place of its sound.",
    )


class VoicesQuery(Body):
    """Whose voices."""

    model_config = ConfigDict(strict=False)

    model: str | None = Field(default=None, max_length=200, description="Name of a model; absent: every provider's.")


class QuotaQuery(Body):
    """Whose quota."""

    model_config = ConfigDict(strict=False)

    model: str | None = Field(
        default=None, max_length=200, description="Name of a model, as elevenlabs; absent: the default one's."
    )
