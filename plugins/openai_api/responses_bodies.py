"""What OpenAI's clients send to `/v1/responses` (types: `openai.types.responses.response_create_params`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from engine.api import Body
from plugins.openai_api.chat_bodies import FUNCTION_NAME


class InputText(Body):
    """Words."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class InputImage(Body):
    """A picture by address, or in a data URL."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = Field(default=None, description="Refused: this server keeps no uploaded files for chat.")
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class InputFile(Body):
    """A document by address, or in base64 or a data URL."""

    type: Literal["input_file"]
    file_url: str | None = None
    file_data: str | None = None
    file_id: str | None = Field(default=None, description="Refused: this server keeps no uploaded files for chat.")
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class InputAudioData(Body):
    """A recording in base64."""

    data: str
    format: str


class InputAudio(Body):
    """A recording, for models that hear."""

    type: Literal["input_audio"]
    input_audio: InputAudioData


class OutputText(Body):
    """Words that the model said earlier."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["output_text"]
    text: str


class OutputRefusal(Body):
    """Words with which the model refused to answer, earlier."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[
    InputText | InputImage | InputFile | InputAudio | OutputText | OutputRefusal, Field(discriminator="type")
]


class MessageItem(Body):
    """A message with its role, the caller's or one of an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCallItem(Body):
    """A call that the model made earlier."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionCallOutputItem(Body):
    """What a tool of the client answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Annotated[InputText | InputImage | InputFile, Field(discriminator="type")]]
    id: str | None = None
    status: str | None = None
    name: str | None = None


class SummaryText(Body):
    """A piece of a summary of thinking."""

    type: Literal["summary_text"] = "summary_text"
    text: str


class ReasoningItem(Body):
    """What the model thought earlier; only what is sealed in `encrypted_content` goes back to it."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] = Field(default_factory=list)
    encrypted_content: str | None = None


class OtherItem(Body):
    """An item of a kind that is not taken here."""

    model_config = ConfigDict(extra="allow")

    type: str


_KNOWN = ("message", "function_call", "function_call_output", "reasoning")


def _kind(value: Any) -> str:
    kind = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", "message")
    return kind if kind in _KNOWN else "other"


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(_kind),
]


class FunctionToolDefinition(Body):
    """A function of the client; `parameters` is a JSON Schema of its arguments."""

    type: Literal["function"]
    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    output_schema: dict[str, Any] | None = None
    allowed_callers: list[str] | None = None


class HostedTool(Body):
    """A tool that the vendor runs; of these, web search is known here."""

    model_config = ConfigDict(extra="allow")

    type: str


ToolDefinition = Annotated[
    Annotated[FunctionToolDefinition, Tag("function")] | Annotated[HostedTool, Tag("hosted")],
    Discriminator(
        lambda value: (
            "function"
            if (value.get("type") if isinstance(value, dict) else getattr(value, "type", None)) == "function"
            else "hosted"
        )
    ),
]


class ChosenTool(Body):
    """The one tool that the model must call."""

    model_config = ConfigDict(extra="allow")

    type: str
    name: str | None = None


class ReasoningConfig(Body):
    """How hard to think, and whether to tell of it."""

    model_config = ConfigDict(extra="allow")

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None
    generate_summary: str | None = Field(default=None, description="The older name of summary.")


class TextFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, pattern=FUNCTION_NAME)
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextConfig(Body):
    """What the text is to be like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesBody(Body):
    """A response as OpenAI's clients ask for it.

    Fields that are not listed here go to a vendor that speaks this dialect as they are, and are refused by name for any
    other one.
    """

    model_config = ConfigDict(extra="allow")

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Catalogue id, alias, vendor/model, or local. A bare name that the catalogue does not know goes to "
        "the default vendor. Absent: the server's default.",
    )
    input: str | list[Item] | None = None
    instructions: str | None = None
    previous_response_id: str | None = Field(default=None, max_length=80)
    store: bool | None = Field(
        default=None, description="False keeps nothing: the response cannot be got, or gone on with by its id."
    )
    background: bool | None = Field(
        default=None, description="True answers at once; the response is got by its id, whether somebody waits or not."
    )
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_output_tokens: int | None = Field(default=None, ge=1)
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = Field(default=None, max_length=200)
