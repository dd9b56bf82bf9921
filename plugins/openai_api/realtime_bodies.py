"""What a client says of a realtime session: to open one, to change one, to bind a key to one.

Fields are those of OpenAI's sessions (types: `openai.types.realtime`); `realtime_wishes` says what becomes of others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.wire.bounds import LONGEST_TEXT, MOST_NAMES, Name, Options, Schema

MOST_TOOLS_OF_A_CALL = 128

_EAGERNESS = {"low": 1_000, "medium": 600, "auto": 600, "high": 300}
"""Milliseconds of silence after which a turn is over, where the words say nothing else."""


class Part(BaseModel):
    """Root of what a session is made of: unknown fields are refused by their name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_max_length=LONGEST_TEXT)


class OpenPart(Part):
    """Root of what may hold more than is listed: `Hints` says what becomes of the rest."""

    model_config = ConfigDict(extra="allow")


class Format(OpenPart):
    """How audio is written. OpenAI itself has 24,000 samples a second only."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = Field(default=None, ge=8_000, le=48_000)

    @model_validator(mode="after")
    def _line_rate(self) -> Format:
        if self.type != "audio/pcm" and self.rate not in (None, 8_000):
            raise ValueError("a telephone's audio has 8000 samples a second")
        return self


class Transcription(OpenPart):
    """How what is said is written; a model that answers has its own way, and is told the language."""

    model: str | None = Field(default=None, max_length=200)
    language: str | None = Field(default=None, max_length=35)
    languages: list[Name] | None = Field(default=None, max_length=MOST_NAMES)
    prompt: str | None = None
    keywords: list[Name] | None = Field(default=None, max_length=MOST_NAMES)
    delay: Name | None = None


class Detection(OpenPart):
    """How the end of a turn is found."""

    type: Literal["server_vad", "semantic_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=2_000)
    silence_duration_ms: int = Field(default=500, ge=100, le=10_000)
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = Field(default=None, ge=5_000, le=30_000)

    @model_validator(mode="after")
    def _idle_by_silence_alone(self) -> Detection:
        if self.idle_timeout_ms is not None and self.type != "server_vad":
            raise ValueError("idle_timeout_ms goes with server_vad only")
        return self

    def told(self) -> dict[str, Any]:
        """As `realtime.start` takes it."""
        semantic = self.type == "semantic_vad"
        return {
            "type": "semantic" if semantic else "server_vad",
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_padding_ms,
            "silence_duration_ms": _EAGERNESS[self.eagerness] if semantic else self.silence_duration_ms,
            "interrupt": self.interrupt_response,
            "answer": self.create_response,
        }


class Input(OpenPart):
    """What comes from the client."""

    format: Format | None = None
    transcription: Transcription | None = None
    turn_detection: Detection | None = None
    noise_reduction: Options | None = None


class VoiceId(Part):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=200)


class Output(OpenPart):
    """What goes to the client."""

    format: Format | None = None
    voice: Name | VoiceId | None = None


class Sound(OpenPart):
    """Both ways."""

    input: Input | None = None
    output: Output | None = None


class Function(OpenPart):
    """A function of the client."""

    type: Literal["function"]
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: Schema = Field(default_factory=dict)


class SessionBody(OpenPart):
    """What `session.update` may change. What is no more than a wish of how to work is taken and not acted on."""

    type: Literal["realtime"] = "realtime"
    model: Name | None = None
    instructions: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = Field(default=None, min_length=1, max_length=1)
    audio: Sound | None = None
    tools: list[Function] | None = Field(default=None, max_length=MOST_TOOLS_OF_A_CALL)
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] | None = None


class Listening(OpenPart):
    """One way."""

    input: Input | None = None


class TranscriptionBody(OpenPart):
    """What `session.update` may change where nothing is answered."""

    type: Literal["transcription"]
    audio: Listening | None = None


AnySessionBody = Annotated[SessionBody | TranscriptionBody, Field(discriminator="type")]


def of_a_type(session: Any) -> Any:
    """A session that does not say what it is answers."""
    return {"type": "realtime", **session} if isinstance(session, dict) else session
