"""What OpenAI's clients send to `/v1/responses` (types: `openai.types.responses.response_create_params`)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from engine.wire.bounds import MOST_MESSAGES, MOST_NAMES, MOST_PARTS, MOST_TOOLS, Name, Notes, Options, Schema
from plugins.openai_api.chat_bodies import FUNCTION_NAME, SCHEMA_NAME, json_text, nothing
from plugins.openai_api.hints import Open, without_blanks


class InputText(Open):
    """Words."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Options | None = None


class InputImage(Open):
    """A picture by address, or in a data URL."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: Name | None = Field(default=None, description="Refused: this server keeps no uploaded files for chat.")
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: Options | None = None


class InputFile(Open):
    """A document by address, or in base64 or a data URL."""

    type: Literal["input_file"]
    file_url: str | None = None
    file_data: str | None = None
    file_id: Name | None = Field(default=None, description="Refused: this server keeps no uploaded files for chat.")
    filename: str | None = Field(default=None, max_length=1_000)
    detail: Name | None = None
    prompt_cache_breakpoint: Options | None = None


class InputAudioData(Open):
    """A recording in base64."""

    data: str
    format: Name


class InputAudio(Open):
    """A recording, for models that hear."""

    type: Literal["input_audio"]
    input_audio: InputAudioData


class OutputText(Open):
    """Words that the model said earlier."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["output_text"]
    text: str


class OutputRefusal(Open):
    """Words with which the model refused to answer, earlier."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[
    InputText | InputImage | InputFile | InputAudio | OutputText | OutputRefusal, Field(discriminator="type")
]


class MessageItem(Open):
    """A message with its role, the caller's or one of an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str | Annotated[list[Part], Field(max_length=MOST_PARTS)], BeforeValidator(nothing)]
    id: Name | None = None
    status: Name | None = None
    phase: Name | None = None


class FunctionCallItem(Open):
    """A call that the model made earlier."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: Annotated[str, BeforeValidator(json_text)] = "{}"


class CustomToolCallItem(Open):
    """A call of a custom tool, whose input is a text, that the model made earlier."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["custom_tool_call"]
    call_id: Name
    name: Name
    input: Annotated[str, BeforeValidator(nothing)] = ""


class FunctionCallOutputItem(Open):
    """What a tool of the client answered."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Name
    output: Annotated[
        str
        | Annotated[
            list[Annotated[InputText | InputImage | InputFile, Field(discriminator="type")]],
            Field(max_length=MOST_PARTS),
        ],
        BeforeValidator(nothing),
    ] = ""
    id: Name | None = None
    status: Name | None = None
    name: Name | None = None


class SummaryText(Open):
    """A piece of a summary of thinking."""

    type: Literal["summary_text"] = "summary_text"
    text: str


class ReasoningItem(Open):
    """What the model thought earlier; only what is sealed in `encrypted_content` goes back to it."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["reasoning"]
    id: str | None = Field(default=None, max_length=1_000)
    summary: list[SummaryText] = Field(default_factory=list, max_length=MOST_PARTS)
    encrypted_content: str | None = None


class ItemReference(Open):
    """An item of a stored response, or of what one was asked, by its id."""

    type: Literal["item_reference"]
    id: str = Field(max_length=120)


class OtherItem(Open):
    """An item of a kind that is not taken here."""

    passed_whole: ClassVar[bool] = True

    type: Name


_OF_CALLS = {"custom_tool_call_output": "function_call_output"}
_KNOWN = ("message", "function_call", "custom_tool_call", "function_call_output", "reasoning", "item_reference")


def _kind(value: Any) -> str:
    kind = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", "message")
    kind = _OF_CALLS.get(kind, kind) if isinstance(kind, str) else "message"
    return kind if kind in _KNOWN else "other"


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[CustomToolCallItem, Tag("custom_tool_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(_kind),
]


class FunctionToolDefinition(Open):
    """A function of the client; `parameters` is a JSON Schema of its arguments."""

    type: Literal["function"]
    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class CustomFormat(Open):
    """What the input of a custom tool is to be like: any text, or one of a grammar."""

    type: Name = "text"
    syntax: Name | None = None
    definition: str | None = None


class CustomToolDefinition(Open):
    """A tool of the client whose input is a text. Models are offered a function with this text as its one argument."""

    type: Literal["custom"]
    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    format: CustomFormat | None = None


class HostedTool(Open):
    """A tool that the vendor runs; of these, web search is known here."""

    passed_whole: ClassVar[bool] = True

    type: Name


def _tool_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in ("function", "custom") else "hosted"


ToolDefinition = Annotated[
    Annotated[FunctionToolDefinition, Tag("function")]
    | Annotated[CustomToolDefinition, Tag("custom")]
    | Annotated[HostedTool, Tag("hosted")],
    Discriminator(_tool_kind),
]


class AllowedTool(Open):
    """One of the tools that the model may call."""

    type: Name
    name: Name | None = None


class ChosenTool(Open):
    """The one tool that the model must call; with type allowed_tools the ones that it may, or must, choose from."""

    type: Name
    name: Name | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[AllowedTool] | None = Field(default=None, max_length=MOST_TOOLS)


class ReasoningConfig(Open):
    """How hard to think, and whether to tell of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Name | None = None
    generate_summary: Name | None = Field(default=None, description="The older name of summary.")


class TextFormat(Open):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, pattern=SCHEMA_NAME)
    description: str | None = None
    json_schema: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextConfig(Open):
    """What the text is to be like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesBody(Open):
    """A response as OpenAI's clients ask for it.

    Fields that are not listed here go to a vendor that speaks this dialect as they are; for any other one `Hints` says what
    becomes of them.
    """

    _blanks = model_validator(mode="before")(without_blanks)

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Catalogue id, alias, vendor/model, or local. A bare name that the catalogue does not know goes to "
        "the default vendor. Absent: the server's default.",
    )
    input: str | Annotated[list[Item], Field(max_length=MOST_MESSAGES)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = Field(default=None, max_length=80)
    store: bool | None = Field(
        default=None, description="False keeps nothing: the response cannot be got, or gone on with by its id."
    )
    background: bool | None = Field(
        default=None, description="True answers at once; the response is got by its id, whether somebody waits or not."
    )
    stream: bool | None = None
    stream_options: Options | None = None
    tools: list[ToolDefinition] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_output_tokens: int | None = Field(default=None, ge=1)
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    include: list[Name] | None = Field(default=None, max_length=MOST_NAMES)
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Notes | None = None
    user: str | None = Field(default=None, max_length=512)
