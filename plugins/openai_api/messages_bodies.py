"""What Anthropic's clients send to `/v1/messages` (types: `anthropic.types.message_create_params`).

What is not listed here is taken too: a vendor that speaks this dialect gets the request as it came, and for any other one
`Hints` says what becomes of it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from engine.wire.bounds import MOST_MESSAGES, MOST_PARTS, MOST_STOPS, MOST_TOOLS, Name, Options, Schema
from plugins.openai_api.hints import Open, without_blanks


class TextBlock(Open):
    """Words."""

    type: Literal["text"]
    text: str
    cache_control: Options | None = None


class ImageSource(Open):
    """A picture's address or content in base64."""

    type: Name
    url: str | None = None
    media_type: Name | None = None
    data: str | None = None


class ImageBlock(Open):
    """A picture."""

    type: Literal["image"]
    source: ImageSource
    cache_control: Options | None = None


class DocumentSource(Open):
    """A document's address, its content in base64, or its plain text."""

    type: Name
    url: str | None = None
    media_type: Name | None = None
    data: str | None = None
    content: Any = None


class DocumentBlock(Open):
    """A document."""

    type: Literal["document"]
    source: DocumentSource
    title: Name | None = None
    cache_control: Options | None = None


class ToolUseBlock(Open):
    """A call that the assistant made earlier."""

    type: Literal["tool_use"]
    id: Name
    name: Name
    input: Any = None


class ToolResultBlock(Open):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Name
    content: str | Annotated[list[Block], Field(max_length=MOST_PARTS)] | None = None
    is_error: bool | None = None


class ThinkingBlock(Open):
    """What the assistant thought earlier. Only what its signature seals goes back to a model."""

    type: Literal["thinking"]
    thinking: str = ""
    signature: str | None = None


class RedactedThinkingBlock(Open):
    """Thinking that only its vendor can read."""

    type: Literal["redacted_thinking"]
    data: str


class OtherBlock(Open):
    """A block that only Anthropic knows."""

    passed_whole: ClassVar[bool] = True

    type: Name


_KNOWN = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking")


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in _KNOWN else "other"


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[DocumentBlock, Tag("document")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[RedactedThinkingBlock, Tag("redacted_thinking")]
    | Annotated[OtherBlock, Tag("other")],
    Discriminator(_kind),
]


class MessageIn(Open):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        str | Annotated[list[Block], Field(max_length=MOST_PARTS)],
        BeforeValidator(lambda content: "" if content is None else content),
    ]


class ToolDefinition(Open):
    """A tool of the client, or one that Anthropic runs, which its `type` names."""

    name: Name = ""
    type: Name | None = None
    description: str | None = None
    input_schema: Schema | None = None
    strict: bool | None = None
    cache_control: Options | None = None


class ToolChoiceIn(Open):
    """Whether and which tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingIn(Open):
    """How much may be thought."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"type": {"const": "enabled"}}},
            "then": {"required": ["budget_tokens"], "properties": {"budget_tokens": {"type": "integer"}}},
        }
    )

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(default=None, ge=1)


class OutputFormat(Open):
    """The form of a JSON answer."""

    type: Literal["json_schema"]
    json_schema: Schema = Field(alias="schema")


class OutputConfig(Open):
    """How hard to work, and in which form to answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class Metadata(Open):
    """Whom the request is for."""

    user_id: str | None = Field(default=None, max_length=1_000)


class CountTokensBody(Open):
    """A request whose input is to be counted."""

    _blanks = model_validator(mode="before")(without_blanks)

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Catalogue id, alias, vendor/model, or local. A bare name that the catalogue does not know goes to "
        "anthropic, if it can serve. Absent: the server's default.",
    )
    messages: list[MessageIn] = Field(min_length=1, max_length=MOST_MESSAGES)
    system: str | Annotated[list[TextBlock], Field(max_length=MOST_PARTS)] | None = None
    tools: list[ToolDefinition] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: ToolChoiceIn | None = None
    thinking: ThinkingIn | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(default=None, description="The older place of output_config.format.")


class MessagesBody(CountTokensBody):
    """A chat as Anthropic's clients ask for it."""

    max_tokens: int = Field(ge=1)
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    stop_sequences: list[str] | None = Field(default=None, max_length=MOST_STOPS)
    metadata: Metadata | None = None
