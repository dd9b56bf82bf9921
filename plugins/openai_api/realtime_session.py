"""A realtime session: what its client set, as the engine's commands take it and as OpenAI shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from engine.api import EngineError, InvalidRequest, UnsupportedParameter
from plugins.openai_api.realtime_bodies import (
    Detection,
    Format,
    Function,
    Input,
    Listening,
    Output,
    SessionBody,
    Sound,
    Transcription,
    TranscriptionBody,
)

RATE = 24_000
G711_RATE = 8_000

Encoding = Literal["pcm_s16le", "mulaw", "alaw"]

_ENCODINGS: dict[str, Encoding] = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
_UNSHOWN = {
    "server_vad": {"eagerness"},
    "semantic_vad": {"threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"},
}


def _rate(format: Format) -> int:
    return format.rate or (RATE if format.type == "audio/pcm" else G711_RATE)


class Ears:
    """What a session hears: the form of its audio, how turns end, and how what is said is written."""

    def __init__(self) -> None:
        self.format = Format()
        self.detection: Detection | None = Detection(type="server_vad")
        self.transcription: Transcription | None = None

    @property
    def encoding(self) -> Encoding:
        """The engine's word for the form of the audio."""
        return _ENCODINGS[self.format.type]

    @property
    def rate(self) -> int:
        """Samples a second."""
        return _rate(self.format)

    @property
    def bytes_a_second(self) -> int:
        return self.rate * (2 if self.format.type == "audio/pcm" else 1)

    @property
    def language(self) -> str | None:
        """The language that is spoken, where it is one."""
        told = self.transcription
        if told is None:
            return None
        return told.language or (told.languages[0] if told.languages and len(told.languages) == 1 else None)

    @property
    def expected(self) -> str | None:
        """Words that the transcriber is to expect."""
        told = self.transcription
        if told is None:
            return None
        return ", ".join(filter(None, (told.prompt, *(told.keywords or ())))) or None

    @property
    def patience(self) -> float | None:
        """Seconds of silence after an answer that are answered, too."""
        idle = self.detection.idle_timeout_ms if self.detection is not None else None
        return idle / 1000 if idle is not None else None

    def reform(self, *formats: Format | None, started: bool) -> None:
        """Take the form that the audio is to have, both ways."""
        named = {(each.type, _rate(each)) for each in formats if each is not None}
        if len(named) > 1:
            raise UnsupportedParameter("audio is of one format both ways here", field="session.audio.output.format")
        if named and started and named != {(self.format.type, self.rate)}:
            raise InvalidRequest("the format cannot change once audio was sent", field="session.audio.input.format")
        if named:
            kind, rate = named.pop()
            self.format = Format(type=kind, rate=rate)

    def update(self, into: Input) -> dict[str, Any]:
        """Take what is set beside the form; gives the fields of `realtime.update` for it."""
        changes: dict[str, Any] = {}
        if "turn_detection" in into.model_fields_set:
            self.detection = into.turn_detection
            changes["turn_detection"] = self.detected()
        if "transcription" in into.model_fields_set:
            self.transcription = into.transcription
        return changes

    def detected(self) -> dict[str, Any]:
        """How turns end, as the engine is told it."""
        # A commit alone asks for no answer; the client does, with response.create.
        return self.detection.told() if self.detection is not None else {"type": "manual", "answer": False}

    def start(self) -> dict[str, Any]:
        """Fields of `realtime.start`."""
        told = {"turn_detection": self.detected(), "sample_rate": self.rate, "encoding": self.encoding, "store": False}
        return told if self.language is None else {**told, "language": self.language}

    def plain(self) -> dict[str, Any]:
        """The form, as it is shown."""
        return {"type": self.format.type, **({"rate": self.rate} if self.format.type == "audio/pcm" else {})}

    def shown(self) -> dict[str, Any]:
        """As `session.audio.input` shows it."""
        detection, written = self.detection, self.transcription
        return {
            "format": self.plain(),
            "transcription": written.model_dump(exclude_none=True) if written is not None else None,
            "noise_reduction": None,
            "turn_detection": None if detection is None else detection.model_dump(exclude=_UNSHOWN[detection.type]),
        }


class RealtimeSession:
    """A session whose model hears and answers, until and after its call has begun."""

    type: ClassVar[Literal["realtime", "transcription"]] = "realtime"

    def __init__(self, id: str, model: str) -> None:
        self.id = id
        self.model = model
        self.started = False
        self.ears = Ears()
        self.modality: Literal["audio", "text"] = "audio"
        self.bound: int | Literal["inf"] = "inf"
        self._voice: str | None = None
        self._instead_of: str | None = None
        self._instructions = ""
        self._tools: list[Function] = []

    @property
    def ear(self) -> str | None:
        """Who writes what was recorded; None is the operator's choice."""
        return "local" if self.model.partition("/")[0] == "local" else None

    def update(
        self,
        body: SessionBody,
        voice: str | None = None,
        *,
        instead_of: str | None = None,
        bound: int | Literal["inf"] | None = None,
    ) -> dict[str, Any]:
        """Take what a client sets, and the voice and bound that its model has; gives the fields of `realtime.update` for it.

        `instead_of` is the voice that was asked for where another one speaks. Raises what cannot change any more.
        """
        sound = body.audio or Sound()
        into, out = sound.input or Input(), sound.output or Output()
        if body.model not in (None, self.model):
            raise InvalidRequest(f"this session's model is {self.model}; it cannot change", field="session.model")
        self.ears.reform(into.format, out.format, started=self.started)
        changes = self.ears.update(into)
        if voice is not None:
            self._voice = changes["voice"] = voice
            self._instead_of = instead_of
            if instead_of is not None:
                changes["voice_instead_of"] = instead_of
        if bound is not None:
            self.bound = changes["max_output_tokens"] = bound
        if body.instructions is not None:
            self._instructions = changes["instructions"] = body.instructions
        if body.output_modalities is not None:
            self.modality = body.output_modalities[0]
            changes["modalities"] = [self.modality]
        if body.tools is not None:
            self._tools = body.tools
            changes["tools"] = self._offered()
        return changes

    def _offered(self) -> list[dict[str, Any]]:
        return [tool.model_dump(include={"name", "description", "parameters"}) for tool in self._tools]

    def start(self) -> dict[str, Any]:
        """The fields of `realtime.start`."""
        told: dict[str, Any] = {"model": self.model, "modalities": [self.modality], **self.ears.start()}
        if self._voice is not None:
            told["voice"] = self._voice
        if self._instead_of is not None:
            told["voice_instead_of"] = self._instead_of
        if self.bound != "inf":
            told["max_output_tokens"] = self.bound
        if self._instructions:
            told["instructions"] = self._instructions
        if self._tools:
            told["tools"] = self._offered()
        return told

    def shown(self) -> dict[str, Any]:
        """As `session.created` and `session.updated` show it."""
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.id,
            "model": self.model,
            "output_modalities": [self.modality],
            "instructions": self._instructions,
            "tools": [tool.model_dump() for tool in self._tools],
            "tool_choice": "auto",
            "max_output_tokens": self.bound,
            "audio": {
                "input": self.ears.shown(),
                "output": {"format": self.ears.plain(), "voice": self._voice or "default", "speed": 1.0},
            },
        }


class TranscriptionSession:
    """A session in which what is said is written, and nothing answered.

    `named` gives the engine's name of the transcriber that a client names, and raises where there is none.
    """

    type: ClassVar[Literal["realtime", "transcription"]] = "transcription"
    modality: ClassVar[Literal["audio", "text"]] = "text"
    bound: ClassVar[Literal["inf"]] = "inf"

    def __init__(self, id: str, model: str | None, named: Callable[[str | None], str | None]) -> None:
        self.id = id
        self.started = False
        self.ears = Ears()
        self._named = named
        self._model = named(model)

    @property
    def ear(self) -> str | None:
        """Who writes; None is the operator's choice."""
        return self._model

    def update(self, body: TranscriptionBody) -> dict[str, Any]:
        """Take what a client sets, as a session that answers does."""
        into = (body.audio or Listening()).input or Input()
        self.ears.reform(into.format, started=self.started)
        if into.transcription is not None and into.transcription.model is not None:
            self._choose(into.transcription.model)
        return self.ears.update(into)

    def _choose(self, model: str) -> None:
        field = "session.audio.input.transcription.model"
        try:
            chosen = self._named(model)
        except EngineError as error:
            error.field = field
            raise
        if self.started and chosen != self._model:
            raise InvalidRequest("the transcriber cannot change once audio was sent", field=field)
        self._model = chosen

    def start(self) -> dict[str, Any]:
        """The fields of `realtime.start`."""
        told = {"model": "cascade", "listen_only": True, "modalities": ["text"], **self.ears.start()}
        named = {"transcription_model": self._model, "transcription_prompt": self.ears.expected}
        return told | {name: value for name, value in named.items() if value is not None}

    def shown(self) -> dict[str, Any]:
        """As `session.created` and `session.updated` show it."""
        heard = self.ears.shown()
        heard["transcription"] = {**(heard["transcription"] or {}), **({"model": self._model} if self._model else {})}
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": self.id,
            "audio": {"input": heard},
        }


Session = RealtimeSession | TranscriptionSession
