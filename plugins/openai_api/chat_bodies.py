"""What OpenAI's clients send to `/v1/chat/completions` (types: `openai.types.chat.completion_create_params`)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.wire.bounds import MOST_MESSAGES, MOST_PARTS, MOST_STOPS, MOST_TOOLS, Name, Notes, Options, Schema
from plugins.openai_api.hints import Open, without_blanks

FUNCTION_NAME = r"^[A-Za-z0-9_-]{1,128}$"
SCHEMA_NAME = r"^[A-Za-z0-9_-]{1,64}$"


def nothing(content: Any) -> Any:
    """Null for no words: stored histories have it."""
    return "" if content is None else content


def json_text(arguments: Any) -> Any:
    """Arguments that were stored as what they mean, as the JSON text that they are."""
    if arguments is None:
        return "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


CacheMark = Options | None


class TextContent(Open):
    """Words."""

    type: Literal["text"]
    text: str
    cache_control: CacheMark = None


class RefusalContent(Open):
    """Words with which the model refused to answer, earlier."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Open):
    """A picture by address, or in a data URL."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageContent(Open):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl
    cache_control: CacheMark = None


class InputAudio(Open):
    """A recording in base64."""

    data: str
    format: Name = Field(description="wav, mp3, …")


class AudioContent(Open):
    """A recording, for models that hear."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class FileSource(Open):
    """A document in base64 or in a data URL."""

    file_data: str | None = None
    file_id: Name | None = Field(default=None, description="Refused: this server keeps no uploaded files for chat.")
    filename: str | None = Field(default=None, max_length=1_000)


class FileContent(Open):
    """A document, for models that read files."""

    type: Literal["file"]
    file: FileSource
    cache_control: CacheMark = None


UserContent = Annotated[TextContent | ImageContent | AudioContent | FileContent, Field(discriminator="type")]
AssistantContent = Annotated[TextContent | RefusalContent, Field(discriminator="type")]


class CalledFunction(Open):
    """Which function was called, with which arguments as a JSON text."""

    name: Name
    arguments: Annotated[str, BeforeValidator(json_text)] = "{}"
    parsed_arguments: Any = Field(default=None, description="Left by the client's parser; not used.")


class GoogleCallExtra(Open):
    """Google's signature of the thought behind a call, which its models want back."""

    thought_signature: str | None = None


class CallExtra(Open):
    """What a vendor added to a call, as Google's OpenAI-compatible API spells it."""

    google: GoogleCallExtra | None = None


class MessageToolCall(Open):
    """A call that the assistant made earlier."""

    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(default=None, description="Left from the chunks of a stream; not used.")
    extra_content: CallExtra | None = None


Texts = Annotated[list[TextContent], Field(max_length=MOST_PARTS)]


class SystemMessage(Open):
    """What the model is to be and do."""

    role: Literal["system", "developer"]
    content: str | Texts
    name: Name | None = None
    cache_control: CacheMark = None


class UserMessage(Open):
    """What a user said."""

    role: Literal["user"]
    content: str | Annotated[list[UserContent], Field(max_length=MOST_PARTS)]
    name: Name | None = None
    cache_control: CacheMark = None


class AssistantMessage(Open):
    """What the model said earlier, as it stood in an answer.

    An answer's `annotations` and `reasoning_content` may be sent back with it, and what the official client's parser
    left in it; models are not told them. So it is with the thinking of other servers (`reasoning`, `reasoning_details`,
    `thinking_blocks`).
    """

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantContent], Field(max_length=MOST_PARTS)] | None = None
    refusal: str | None = None
    name: Name | None = None
    tool_calls: list[MessageToolCall] | None = Field(default=None, max_length=MOST_TOOLS)
    audio: None = None
    function_call: None = None
    annotations: list[Options] | None = Field(default=None, max_length=MOST_PARTS)
    reasoning_content: str | None = None
    parsed: Any = None
    cache_control: CacheMark = None


class ToolMessage(Open):
    """What a tool answered; a picture in it reaches models whose vendor takes text only as a message of the user."""

    role: Literal["tool"]
    content: Annotated[str | Annotated[list[UserContent], Field(max_length=MOST_PARTS)], BeforeValidator(nothing)] = ""
    tool_call_id: Name
    name: Name | None = None
    cache_control: CacheMark = None


ChatMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class FunctionDefinition(Open):
    """A function of the client; `parameters` is a JSON Schema of its arguments."""

    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class FunctionTool(Open):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition
    cache_control: CacheMark = None


class ChosenFunction(Open):
    """A function by name."""

    name: Name


class NamedToolChoice(Open):
    """The one function that the model must call."""

    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(Open):
    """The form of a JSON answer."""

    name: str = Field(pattern=SCHEMA_NAME)
    description: str | None = None
    json_schema: Schema = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Open):
    """An answer in words."""

    type: Literal["text"]


class JsonObjectFormat(Open):
    """An answer in JSON: of any form, or of the `schema` that llama.cpp's and Together's clients put here."""

    type: Literal["json_object"]
    json_schema: Schema | None = Field(default=None, alias="schema")


class JsonSchemaFormat(Open):
    """An answer in JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(Open):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="Chunks are never padded; true is refused.")


class ChatCompletionsBody(Open):
    """A chat as OpenAI's clients ask for it. Fields that are not listed here go to the vendor as they are."""

    _blanks = model_validator(mode="before")(without_blanks)

    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str | None = Field(
        default=None,
        max_length=200,
        description="Catalogue id, alias, vendor/model, or local. A bare name that the catalogue does not know goes to "
        "the default vendor. Absent: the server's default.",
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[FunctionTool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    web_search_options: Options | None = Field(
        default=None, description="Switches on the vendor's own web search; its fields go to the vendor as they are."
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=16)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    max_tokens: int | None = Field(default=None, ge=1, description="The older name of max_completion_tokens.")
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = (
        None
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    modalities: list[Name] | None = Field(default=None, max_length=16)
    store: bool | None = Field(
        default=None, description="True keeps the turn as a conversation of this server; no content is kept otherwise."
    )
    metadata: Notes | None = None
    user: str | None = Field(default=None, max_length=512)
