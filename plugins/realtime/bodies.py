"""What clients send in a call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.api import Body
from engine.wire.bounds import Options, Schema

Stream = Annotated[str, Field(max_length=64)]


class TurnDetectionInput(Body):
    """How it is found out that the person has finished."""

    type: Literal["server_vad", "semantic", "manual"] = Field(
        default="server_vad",
        description="server_vad: by silence. semantic: by silence, longer or shorter as the words end. "
        "manual: by realtime.commit.",
    )
    threshold: float = Field(default=0.5, ge=0, le=1, description="Probability from which sound is speech.")
    prefix_padding_ms: int = Field(
        default=300, ge=0, le=2_000, description="Sound before the beginning that is heard too."
    )
    silence_duration_ms: int = Field(default=500, ge=100, le=10_000, description="Silence after which speech is over.")
    interrupt: bool = Field(default=True, description="Whether speech stops the answer.")
    answer: bool = Field(default=True, description="Whether each turn is answered unasked; else by realtime.answer.")


class CallTool(Body):
    """A function of the client that the model may call."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: Schema = Field(default_factory=dict, description="A JSON Schema of its arguments.")


class RealtimeUpdateFields(Body):
    """What may change while a call runs."""

    voice: str | None = Field(default=None, max_length=200, description='Id of a voice; "default" or absent: any.')
    instructions: str | None = Field(default=None, description="What the model is to be and do.")
    turn_detection: TurnDetectionInput | None = None
    modalities: list[Literal["audio", "text"]] | None = Field(
        default=None, max_length=2, description="How it answers: with audio, which has its words too, or text alone."
    )
    tools: list[CallTool] | None = Field(default=None, max_length=128)
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] | None = Field(
        default=None, description='Bound of each answer, for models that take one; "inf": none.'
    )
    voice_instead_of: str | None = Field(
        default=None,
        max_length=200,
        description="A voice that was asked for and is not there; a status says that another one speaks instead.",
    )


class RealtimeStart(RealtimeUpdateFields):
    """`realtime.start`: binary frames with the number of the accepted stream follow, and come back on the lane `speech`."""

    model: str | None = Field(
        default=None,
        max_length=200,
        description="A realtime model, vendor/model, local, or cascade: any models of this server that hear, think and speak.",
    )
    chat_model: str | None = Field(default=None, max_length=200, description="Of a cascade: who thinks.")
    transcription_model: str | None = Field(default=None, max_length=200, description="Of a cascade: who hears.")
    transcription_prompt: str | None = Field(
        default=None, max_length=2_000, description="Of a cascade: words to expect, for who hears."
    )
    speech_model: str | None = Field(default=None, max_length=200, description="Of a cascade: who speaks.")
    listen_only: bool = Field(
        default=False,
        description="Of a cascade: write what is said and answer nothing; it needs no chat model and no voice.",
    )
    language: str | None = Field(default=None, max_length=35, description="BCP 47 tag of what is spoken.")
    translate_to: str | None = Field(
        default=None,
        max_length=35,
        description="Interpret what is said into this language (BCP 47), and answer nothing.",
    )
    conversation: str | None = Field(
        default=None, max_length=64, description="Id of a conversation to go on with; absent begins one."
    )
    store: bool = Field(default=True, description="False keeps nothing that is said.")
    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000, description="Samples a second, both ways.")
    encoding: Literal["pcm_s16le", "mulaw", "alaw"] = Field(default="pcm_s16le", description="Of the audio, both ways.")
    provider_options: Options = Field(default_factory=dict, description="Added to the vendor's session as they are.")


class RealtimeUpdateCall(RealtimeUpdateFields):
    """`realtime.update`: what is left out stays as it is."""

    stream: Stream


class OfCall(Body):
    """Of one call."""

    stream: Stream


class RealtimeTextCall(OfCall):
    """Something said in writing; `realtime.answer` has it answered."""

    text: str = Field(min_length=1, max_length=100_000)
    role: Literal["user", "system", "assistant"] = "user"
    item: str | None = Field(default=None, max_length=64, description="A name for it, for realtime.forget.")


class RealtimeForgetCall(OfCall):
    """Forget one thing that was said."""

    item: str | None = Field(default=None, max_length=64, description="The name of a text of realtime.text.")
    turn: int | None = Field(default=None, ge=1, description="The turn in which the person said it.")
    answer: str | None = Field(default=None, max_length=64, description="The stream of an answer, its answered_by.")


class RealtimeAnswerCall(OfCall):
    """Answer now."""

    instructions: str | None = Field(default=None, description="For this answer alone.")


class RealtimePlayedCall(OfCall):
    """Where the client's playback is."""

    at: int = Field(ge=0, lt=1 << 32, description="Media time of the lane in milliseconds.")


class RealtimeToolResultCall(OfCall):
    """What a tool of the client answered."""

    call_id: str = Field(max_length=200)
    output: Any = Field(description="A text, or plain data that the model gets as JSON.")
    error: bool = False
