"""What clients send: the fields of `chat.send` and of `POST /api/v1/chat`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from engine.api.commands import Body
from engine.api.streams import ON_DISCONNECT
from engine.wire.bounds import (
    MOST_MESSAGES,
    MOST_NAMES,
    MOST_PARTS,
    MOST_STOPS,
    MOST_TOOLS,
    Name,
    Notes,
    Options,
    Schema,
)
from plugins.vendors.codecs import AudioFormat

MOST_DIALECTS = 16

Effort = Literal["none", "minimal", "low", "medium", "high", "max"]


CacheMark = Annotated[
    Options | None,
    Field(
        description='Marks the end of what is to be kept in the vendor\'s prompt cache, as {"type": "ephemeral"}; sent to '
        "Anthropic and OpenRouter, and to nobody else."
    ),
]


class TextInput(Body):
    """Words."""

    type: Literal["text"]
    text: str
    cache_control: CacheMark = None


class ImageInput(Body):
    """A picture by address (https, or a data URL), or by its content in base64."""

    type: Literal["image"]
    url: str | None = None
    data: str | None = None
    media_type: Name | None = Field(
        default=None, description="Of `data`: image/png, image/jpeg, image/webp or image/gif."
    )
    detail: Literal["auto", "low", "high"] | None = None
    cache_control: CacheMark = None

    @model_validator(mode="after")
    def _one_source(self) -> ImageInput:
        if (self.url is None) == (self.data is None):
            raise ValueError("an image has either url or data")
        return self


class AudioInput(Body):
    """A recording in base64, for models that hear."""

    type: Literal["audio"]
    data: str
    format: Name = Field(description="wav, mp3, …")


class FileInput(Body):
    """A document by address or by its content in base64, for models that read files."""

    type: Literal["file"]
    url: str | None = None
    data: str | None = None
    media_type: Name | None = None
    name: str | None = Field(default=None, max_length=1_000)
    cache_control: CacheMark = None

    @model_validator(mode="after")
    def _one_source(self) -> FileInput:
        if (self.url is None) == (self.data is None):
            raise ValueError("a file has either url or data")
        return self


class ReasoningInput(Body):
    """What an assistant thought before, as `reasoning.kept` told it; only the model of its provider is told."""

    type: Literal["reasoning"]
    provider: Name
    text: str = ""
    signature: str | None = None
    id: str | None = Field(default=None, max_length=1_000)


InputPart = Annotated[TextInput | ImageInput | AudioInput | FileInput, Field(discriminator="type")]
MessagePart = Annotated[TextInput | ImageInput | AudioInput | FileInput | ReasoningInput, Field(discriminator="type")]


class InputToolCall(Body):
    """A call that an assistant made earlier."""

    call_id: Name
    name: Name
    arguments: str = Field(description="A JSON text.")
    signature: str | None = None


class InputMessage(Body):
    """One message with its role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[MessagePart], Field(max_length=MOST_PARTS)] = ""
    name: Name | None = None
    tool_calls: list[InputToolCall] = Field(
        default_factory=list, max_length=MOST_TOOLS, description="Of an assistant: the calls that it made."
    )
    tool_call_id: Name | None = Field(default=None, description="Of a tool: the call that it answers.")

    @model_validator(mode="after")
    def _fits_its_role(self) -> InputMessage:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool's message names its tool_call_id")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        parts = self.content if isinstance(self.content, list) else ()
        if self.role != "assistant" and any(isinstance(part, ReasoningInput) for part in parts):
            raise ValueError("only an assistant's message has parts of type reasoning")
        return self


class FunctionToolInput(Body):
    """A function of the client that the model may call."""

    type: Literal["function"] = "function"
    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
        description="A vendor that takes 64 characters is sent a shorter name; the calls have this one.",
    )
    description: str = ""
    parameters: Schema = Field(default_factory=dict, description="A JSON Schema of its arguments.")
    strict: bool | None = None
    cache_control: CacheMark = None


class WebSearchInput(Body):
    """The vendor's own web search."""

    type: Literal["web_search"]
    options: Options = Field(default_factory=dict, description="Passed to the vendor as they are.")


class NamedToolChoice(Body):
    """The one tool that the model must call."""

    name: Name


class ReasoningDemand(Body):
    """How hard to think: a name or a budget in tokens."""

    effort: Effort | None = None
    budget: int | None = Field(default=None, ge=0)
    summary: bool = True


class ResponseFormatInput(Body):
    """The form of the answer."""

    type: Literal["text", "json", "json_schema"]
    name: str = Field(default="answer", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    json_schema: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormatInput:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("type json_schema comes with a schema, and no other type does")
        return self


class SpeakInput(Body):
    """The voice that reads the answer aloud, as it is written: its sound goes out on the lane `speech` of the turn's stream."""

    model: str | None = Field(default=None, max_length=200, description="A voice model; absent: [models] speech.")
    voice: str | None = Field(
        default=None, max_length=200, description='Id of a voice; absent or "default": the provider\'s own choice.'
    )
    format: AudioFormat = "pcm"
    rate: int | None = Field(
        default=None,
        ge=8_000,
        le=48_000,
        description="Samples a second; absent: as the voice gives them, and 8000 of mulaw and alaw.",
    )
    speed: float = Field(default=1.0, ge=0.25, le=4.0, description="1 is the voice's own.")
    instructions: str | None = Field(
        default=None, max_length=4_000, description="How to sound, for models that can be told."
    )


def _kind_of_input(given: Any) -> str:
    if not isinstance(given, list):
        return "text"
    first = given[0] if given else None
    return "messages" if isinstance(first, InputMessage) or (isinstance(first, dict) and "role" in first) else "parts"


class ChatSend(Body):
    """One turn of a conversation. `input` is what the user says now: a text, parts, or messages with roles."""

    input: Annotated[
        Annotated[str, Tag("text")]
        | Annotated[list[InputPart], Field(max_length=MOST_PARTS), Tag("parts")]
        | Annotated[list[InputMessage], Field(max_length=MOST_MESSAGES), Tag("messages")],
        # Tried one after the other, each message would be a mistake of the parts.
        Discriminator(_kind_of_input),
    ]
    conversation: Name | None = Field(
        default=None,
        description="Id of a conversation to go on with; absent begins one. A turn that is not kept looks back at it only.",
    )
    parent: Name | None = Field(
        default=None,
        description="Message after which to go on, to branch off; root begins again at the top; absent: the newest one shown.",
    )
    model: str | None = Field(
        default=None, max_length=200, description="Catalogue id, alias, vendor/model, or local; absent: the default."
    )
    instructions: str | None = Field(default=None, description="What the model is to be and do.")
    tools: list[Annotated[WebSearchInput | FunctionToolInput, Field()]] = Field(
        default_factory=list, max_length=MOST_TOOLS, description="Functions of the client, and the vendor's web search."
    )
    server_tools: list[Name] | None = Field(
        default=None,
        max_length=MOST_NAMES,
        description="Names of the server's tools to offer; absent: all, empty: none.",
    )
    tool_choice: Literal["auto", "none", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    client_tools: Literal["wait", "return"] | None = Field(
        default=None,
        description="wait: the turn waits for tool.result. return: it ends with its calls. Absent: wait, and return for "
        "a plain JSON answer.",
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = None
    top_k: int | None = Field(
        default=None,
        ge=0,
        description="Sample from so many of the likeliest tokens, where the vendor has such a field.",
    )
    n: int = Field(default=1, ge=1, le=16, description="Answers to give; more than one is not kept in the history.")
    max_output_tokens: int | None = Field(default=None, ge=1)
    reasoning: Effort | ReasoningDemand | None = None
    response_format: ResponseFormatInput | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20, description="Alternatives to report for each token.")
    speak: SpeakInput | None = Field(
        default=None, description="Read the answer aloud. A voice that fails fails no text."
    )
    store: bool = Field(default=True, description="False keeps no content, in the history or anywhere else.")
    metadata: Notes = Field(default_factory=dict, description="The client's own notes, kept with the message.")
    user: str | None = Field(default=None, max_length=512, description="Passed to the vendor as its end user's id.")
    provider_options: Options = Field(
        default_factory=dict,
        description="Added to the vendor's request as they are; they win over what the engine made. A bound on the answer "
        "counts as max_output_tokens; model, n, messages, stream and what else would replace fields of the request is refused.",
    )
    native: dict[Name, Options] = Field(
        default_factory=dict,
        max_length=MOST_DIALECTS,
        description="The same request in a vendor's own dialect, by the dialect's name (anthropic): a vendor that speaks "
        "it is sent this body, any other one what the engine makes of the other fields.",
    )

    @model_validator(mode="after")
    def _not_too_many_parts(self) -> ChatSend:
        messages = self.input if isinstance(self.input, list) else ()
        count = sum(len(each.content) for each in messages if isinstance(each, InputMessage) and _in_parts(each))
        if count > MOST_PARTS:
            raise PydanticCustomError(
                "too_many_values",
                "input must have at most {most} parts in all its messages, not {count}",
                {"most": MOST_PARTS, "count": count},
            )
        return self


def _in_parts(message: InputMessage) -> bool:
    return not isinstance(message.content, str)


class ChatPost(ChatSend):
    """`chat.send` over HTTP: with the fields that stand around a command on the socket."""

    id: str | None = Field(default=None, max_length=200, description="Ignored; the answer belongs to its request.")
    key: str | None = Field(default=None, max_length=200, description="As the Idempotency-Key header, which wins.")
    on_disconnect: Annotated[Any, WithJsonSchema(ON_DISCONNECT)] = "continue"


class ToolResultSend(Body):
    """What a tool of the client answered. A second answer to the same call changes nothing."""

    stream: str = Field(max_length=64)
    call_id: str = Field(max_length=200)
    output: Any = Field(description="A text, or plain data that the model gets as JSON.")
    error: bool = Field(default=False, description="True when the tool failed; `output` says how.")
