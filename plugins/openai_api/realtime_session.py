"""The session of a realtime connection: what a client sets, in OpenAI's words and in those of `realtime.start`.

Source: https://developers.openai.com/api/reference/resources/realtime (types: `openai.types.realtime`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.api import InvalidRequest, UnsupportedParameter

RATE = 24_000
G711_RATE = 8_000

_EAGERNESS = {"low": 1_000, "medium": 600, "auto": 600, "high": 300}
"""Milliseconds of silence after which a turn is over, where the words say nothing else."""


class Part(BaseModel):
    """Root of what a session is made of: unknown fields are refused by their name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Format(Part):
    """How audio is written."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24_000] | None = None


class Transcription(Part):
    """How what is said is written; the realtime model's own way is taken, and the language is its."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: str | None = None


class Detection(Part):
    """How the end of a turn is found."""

    type: Literal["server_vad", "semantic_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=2_000)
    silence_duration_ms: int = Field(default=500, ge=100, le=10_000)
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None

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


class Input(Part):
    """What comes from the client."""

    format: Format | None = None
    transcription: Transcription | None = None
    turn_detection: Detection | None = None
    noise_reduction: dict[str, Any] | None = None


class VoiceId(Part):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=200)


class Output(Part):
    """What goes to the client."""

    format: Format | None = None
    voice: str | VoiceId | None = None
    speed: float | None = None

    @field_validator("speed")
    @classmethod
    def _own_speed(cls, value: float | None) -> float | None:
        if value not in (None, 1.0):
            raise ValueError("only a voice's own speed, 1, is spoken here")
        return value


class Sound(Part):
    """Both ways."""

    input: Input | None = None
    output: Output | None = None


class Function(Part):
    """A function of the client."""

    type: Literal["function"]
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class SessionBody(Part):
    """What `session.update` may change. What is no more than a wish of how to work is taken and not acted on."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    instructions: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = Field(default=None, min_length=1, max_length=1)
    audio: Sound | None = None
    tools: list[Function] | None = None
    tool_choice: Literal["auto"] | None = None
    max_output_tokens: Literal["inf"] | None = None
    truncation: Literal["auto"] | None = None
    tracing: None = None
    include: None = None
    prompt: None = None
    parallel_tool_calls: bool | None = None


class RealtimeSession:
    """One connection's session, until and after its call has begun."""

    def __init__(self, id: str, model: str, conversation: str | None = None) -> None:
        self.id = id
        self.model = model
        self.started = False
        self._body = SessionBody()
        self._detection: Detection | None = Detection(type="server_vad")
        self._format = Format()
        self._voice: str | None = None
        self._instructions = ""
        self._modality: Literal["audio", "text"] = "audio"
        self._tools: list[Function] = []
        self._transcription: Transcription | None = None

    @property
    def detects(self) -> bool:
        """Whether the server finds the ends of turns; else the client commits them."""
        return self._detection is not None

    @property
    def modality(self) -> Literal["audio", "text"]:
        return self._modality

    @property
    def bytes_a_second(self) -> int:
        """Of the client's audio."""
        return G711_RATE if self._format.type != "audio/pcm" else RATE * 2

    def update(self, body: SessionBody) -> dict[str, Any]:
        """Take what a client sets; gives the fields of `realtime.update` for it. Raises what cannot change any more."""
        changes: dict[str, Any] = {}
        sound = body.audio or Sound()
        into, out = sound.input or Input(), sound.output or Output()
        formats = {each.type for each in (into.format, out.format) if each is not None}
        if len(formats) > 1:
            raise UnsupportedParameter("audio is of one format both ways here", field="session.audio.output.format")
        if formats and self.started and formats != {self._format.type}:
            raise InvalidRequest("the format cannot change once audio was sent", field="session.audio.input.format")
        if body.model not in (None, self.model):
            raise InvalidRequest(f"this session's model is {self.model}; it cannot change", field="session.model")
        if formats:
            self._format = Format(type=formats.pop())
        if "turn_detection" in into.model_fields_set:
            self._detection = into.turn_detection
            changes["turn_detection"] = self._detected()
        if "transcription" in into.model_fields_set:
            self._transcription = into.transcription
        if out.voice is not None:
            self._voice = out.voice if isinstance(out.voice, str) else out.voice.id
            changes["voice"] = self._voice
        if body.instructions is not None:
            self._instructions = changes["instructions"] = body.instructions
        if body.output_modalities is not None:
            self._modality = body.output_modalities[0]
            changes["modalities"] = [self._modality]
        if body.tools is not None:
            self._tools = body.tools
            changes["tools"] = self._offered()
        return changes

    def _detected(self) -> dict[str, Any]:
        # A commit alone asks for no answer; the client does, with response.create.
        return self._detection.told() if self._detection is not None else {"type": "manual", "answer": False}

    def _offered(self) -> list[dict[str, Any]]:
        return [tool.model_dump(exclude={"type"}) for tool in self._tools]

    def start(self) -> dict[str, Any]:
        """The fields of `realtime.start`."""
        encoding = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}[self._format.type]
        told: dict[str, Any] = {
            "model": self.model,
            "modalities": [self._modality],
            "turn_detection": self._detected(),
            "sample_rate": RATE if encoding == "pcm_s16le" else G711_RATE,
            "encoding": encoding,
            "store": False,
        }
        if self._voice is not None:
            told["voice"] = self._voice
        if self._instructions:
            told["instructions"] = self._instructions
        if self._tools:
            told["tools"] = self._offered()
        if self._transcription is not None and self._transcription.language:
            told["language"] = self._transcription.language
        return told

    def shown(self) -> dict[str, Any]:
        """As `session.created` and `session.updated` show it."""
        plain = {"type": self._format.type, **({"rate": RATE} if self._format.type == "audio/pcm" else {})}
        detection = self._detection
        kept = {"server_vad": {"eagerness"}, "semantic_vad": {"threshold", "prefix_padding_ms", "silence_duration_ms"}}
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.id,
            "model": self.model,
            "output_modalities": [self._modality],
            "instructions": self._instructions,
            "tools": [tool.model_dump() for tool in self._tools],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "audio": {
                "input": {
                    "format": plain,
                    "transcription": self._transcription.model_dump(exclude_none=True) if self._transcription else None,
                    "noise_reduction": None,
                    "turn_detection": None
                    if detection is None
                    else detection.model_dump(exclude={*kept[detection.type], "idle_timeout_ms"}),
                },
                "output": {"format": plain, "voice": self._voice or "default", "speed": 1.0},
            },
        }
