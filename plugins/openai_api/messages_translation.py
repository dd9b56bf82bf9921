"""A request of Anthropic's Messages as the engine's own command, `chat.send`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.api import InvalidRequest, Target, UnsupportedParameter
from plugins.openai_api.hints import Hints, Rules, thinks
from plugins.openai_api.messages_bodies import (
    Block,
    CountTokensBody,
    DocumentBlock,
    ImageBlock,
    MessageIn,
    MessagesBody,
    OtherBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolDefinition,
    ToolResultBlock,
    ToolUseBlock,
)
from plugins.openai_api.sealed import Seal, unsealed

DIALECT = "anthropic"
REDACTED = "redacted_thinking"

RULES = Rules(
    demands={
        "container": "containers are Anthropic's; leave it out, or ask one of its models",
        "mcp_servers": "Anthropic connects to these servers itself; list their tools under tools, or ask one of its models",
    },
    neutral={
        "service_tier": ("auto", "standard_only"),
        "speed": ("standard",),
        "caller": ({"type": "direct"},),
        "allowed_callers": (["direct"],),
    },
)

SYSTEM = -1
"""The place of a message that was made of `system`."""

Places = list[int]
"""For each message of `chat.send` the place of the one in the request that it was made of."""


class Translation:
    """One request to a target. One that speaks the dialect gets it as it came, so that what we cannot say need not be
    refused; for any other one `hints` notes what is dropped."""

    def __init__(self, body: CountTokensBody, target: Target, hints: Hints) -> None:
        self._body = body
        self._target = target
        self._native = target.speaks(DIALECT)
        self._hints = hints
        self.places: Places = []

    def judge(self) -> None:
        """Drop and note what this target's vendor knows nothing of; raises `UnsupportedParameter` for a demand."""
        if self._native:
            return
        self._hints.judge(self._body, RULES)
        if not self._target.takes("cache_control"):
            for field, marked in _marks(self._body):
                if marked:
                    self._hints.drop(field)

    def messages(self) -> list[dict[str, Any]]:
        """The messages as `chat.send` takes them."""
        found: list[dict[str, Any]] = []
        if (system := self._marked_system()) is not None:
            found.append(system)
            self.places.append(SYSTEM)
        for at, message in enumerate(self._body.messages):
            for made in self._message(message, f"messages.{at}"):
                found.append(made)
                self.places.append(at)
        return found

    def settings(self) -> dict[str, Any]:
        """The other fields of `chat.send` that a count of tokens has, too."""
        body = self._body
        one_call = body.tool_choice is not None and body.tool_choice.disable_parallel_tool_use
        tools = [self._tool(tool, f"tools.{at}") for at, tool in enumerate(body.tools or ())]
        fields = {
            "instructions": self._system(),
            "tools": [tool for tool in tools if tool is not None] or None,
            "tool_choice": self._tool_choice(),
            "parallel_tool_calls": False if one_call else None,
            "reasoning": self._reasoning(),
            "response_format": self._response_format(),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def top_k(self, given: int | None) -> int | None:
        """How many of the likeliest tokens to sample from, which is a wish."""
        if given and self._target.lacks("top_k"):
            self._hints.drop("top_k")
            return None
        return given

    # Messages

    def _message(self, message: MessageIn, field: str) -> Iterator[dict[str, Any]]:
        if isinstance(message.content, str):
            yield {"role": message.role, "content": message.content}
        elif message.role == "assistant":
            yield self._assistant(message.content, field)
        else:
            yield from self._user(message.role, message.content, field)

    def _user(self, role: str, content: Sequence[Block], field: str) -> Iterator[dict[str, Any]]:
        """The answers of tools, each a message of its own, and then what the user says."""
        parts: list[dict[str, Any]] = []
        for at, block in enumerate(content):
            where = f"{field}.content.{at}"
            if isinstance(block, ToolResultBlock):
                yield self._result(block, where)
            elif (part := self._part(block, where)) is not None:
                parts.append(part)
        if parts:
            yield {"role": role, "content": parts}

    def _result(self, block: ToolResultBlock, field: str) -> dict[str, Any]:
        if block.content is None or isinstance(block.content, str):
            content: str | list[dict[str, Any]] = block.content or ""
        else:
            parts = [self._part(each, f"{field}.content.{at}") for at, each in enumerate(block.content)]
            content = [part for part in parts if part is not None]
        if block.is_error and not content:
            content = "The tool failed."
        return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}

    def _assistant(self, content: Sequence[Block], field: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        seals = {}
        for at, block in enumerate(content):
            where = f"{field}.content.{at}"
            match block:
                case ToolUseBlock():
                    arguments = msgspec.json.encode({} if block.input is None else block.input).decode()
                    calls.append({"call_id": block.id, "name": block.name, "arguments": arguments})
                case ThinkingBlock(signature=None | ""):
                    continue  # no vendor takes its thoughts back unsigned
                case ThinkingBlock(signature=str(signature)):
                    seal = unsealed(signature)
                    if seal.call is not None:
                        seals[seal.call] = seal.signature
                    else:
                        parts.append(_thought(seal, block.thinking))
                case RedactedThinkingBlock():
                    parts.append(_thought(Seal(signature=block.data, id=REDACTED), ""))
                case _:
                    if (part := self._part(block, where)) is not None:
                        parts.append(part)
        made: dict[str, Any] = {"role": "assistant", "content": parts}
        if calls:
            made["tool_calls"] = [
                {**call, "signature": seals[call["call_id"]]} if seals.get(call["call_id"]) else call for call in calls
            ]
        return made

    def _part(self, block: Block, field: str) -> dict[str, Any] | None:
        match block:
            case TextBlock():
                return self._marked({"type": "text", "text": block.text}, block)
            case ImageBlock():
                return self._marked(self._image(block, field), block)
            case DocumentBlock():
                return self._marked(self._document(block, field), block)
            case OtherBlock() if self._native:
                return None
        raise UnsupportedParameter(
            f"{field}.type {block.type[:60]!r} does not go here for this model", field=f"{field}.type"
        )

    def _marked(
        self, part: dict[str, Any] | None, block: TextBlock | ImageBlock | DocumentBlock
    ) -> dict[str, Any] | None:
        return part if part is None or not block.cache_control else {**part, "cache_control": block.cache_control}

    def _image(self, block: ImageBlock, field: str) -> dict[str, Any] | None:
        source = block.source
        if source.type == "url" and source.url is not None:
            return {"type": "image", "url": source.url}
        if source.type == "base64" and source.data is not None:
            return {"type": "image", "data": source.data, "media_type": source.media_type}
        self._unknown_source(source.type, field)
        return None

    def _document(self, block: DocumentBlock, field: str) -> dict[str, Any] | None:
        source = block.source
        name = {"name": block.title} if block.title else {}
        if source.type == "url" and source.url is not None:
            return {"type": "file", "url": source.url, **name}
        if source.type == "base64" and source.data is not None:
            return {"type": "file", "data": source.data, "media_type": source.media_type, **name}
        if source.type == "text" and source.data is not None:
            titled = f"{block.title}\n\n{source.data}" if block.title else source.data
            return {"type": "text", "text": titled}
        self._unknown_source(source.type, field)
        return None

    def _unknown_source(self, kind: str, field: str) -> None:
        if self._native:
            return
        where = f"{field}.source"
        raise UnsupportedParameter(
            f"{where} of type {kind[:60]!r} is not taken for this model; send base64 or a url", field=where
        )

    # The rest

    def _marked_system(self) -> dict[str, Any] | None:
        """The system prompt as a message with its marks for the cache, for a vendor that takes them."""
        system = self._body.system
        if not isinstance(system, list) or not self._target.takes("cache_control"):
            return None
        if not any(block.cache_control for block in system):
            return None
        return {"role": "system", "content": [self._marked({"type": "text", "text": b.text}, b) for b in system]}

    def _system(self) -> str | None:
        system = self._body.system
        if system is None or isinstance(system, str):
            return system
        return None if self._marked_system() is not None else "\n\n".join(block.text for block in system)

    def _tool(self, tool: ToolDefinition, field: str) -> dict[str, Any] | None:
        kind = tool.type or "custom"
        if kind == "custom":
            fields = {
                "description": tool.description,
                "parameters": tool.input_schema,
                "strict": tool.strict,
                "cache_control": tool.cache_control,
            }
            given = {name: value for name, value in fields.items() if value is not None}
            return {"type": "function", "name": tool.name, **given}
        if kind.startswith("web_search_") and self._target.can("web_search"):
            return {"type": "web_search"}
        if self._native:
            return None
        if self._demands(tool):
            raise UnsupportedParameter(
                f"{field}.type {kind[:60]!r} is a tool of Anthropic's; this model's vendor has none of the kind",
                field=f"{field}.type",
            )
        # A tool is an offer, which the model need not take.
        self._hints.drop(field)
        return None

    def _demands(self, tool: ToolDefinition) -> bool:
        """Whether this tool must be called: by its name, or as there is none of the client's own to call instead."""
        choice = self._body.tool_choice
        if choice is None or choice.type not in ("tool", "any"):
            return False
        if choice.type == "tool":
            return choice.name == tool.name
        return not any((each.type or "custom") == "custom" for each in self._body.tools or ())

    def _tool_choice(self) -> str | dict[str, str] | None:
        choice = self._body.tool_choice
        if choice is None or not any((tool.type or "custom") == "custom" for tool in self._body.tools or ()):
            return None
        if choice.type == "tool":
            if not choice.name:
                raise InvalidRequest("tool_choice.name is required with type tool", field="tool_choice.name")
            return {"name": choice.name}
        return {"auto": "auto", "any": "required", "none": "none"}[choice.type]

    def _reasoning(self) -> dict[str, Any] | str | None:
        thinking, config = self._body.thinking, self._body.output_config
        if not self._native and not thinks(self._target):
            self._drop_thinking()
            return None
        if thinking is not None and thinking.type == "enabled":
            if thinking.budget_tokens is None:
                raise InvalidRequest(
                    "thinking.budget_tokens is required with type enabled", field="thinking.budget_tokens"
                )
            return {"budget": thinking.budget_tokens}
        if config is not None and config.effort is not None and not (thinking and thinking.type == "disabled"):
            return "max" if config.effort == "xhigh" else config.effort
        return None

    def _drop_thinking(self) -> None:
        thinking, config = self._body.thinking, self._body.output_config
        if thinking is not None and thinking.type != "disabled":
            self._hints.drop("thinking")
        if config is not None and config.effort is not None:
            self._hints.drop("output_config.effort")

    def _response_format(self) -> dict[str, Any] | None:
        config = self._body.output_config
        wanted = (config.format if config is not None else None) or self._body.output_format
        return {"type": "json_schema", "schema": wanted.json_schema} if wanted is not None else None


def _marks(body: CountTokensBody) -> Iterator[tuple[str, Any]]:
    """Where the request marks something for the prompt cache."""
    for at, block in enumerate(body.system if isinstance(body.system, list) else ()):
        yield f"system.{at}.cache_control", block.cache_control
    for at, tool in enumerate(body.tools or ()):
        yield f"tools.{at}.cache_control", tool.cache_control
    for at, message in enumerate(body.messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if isinstance(part, TextBlock | ImageBlock | DocumentBlock):
                yield f"messages.{at}.content.{number}.cache_control", part.cache_control


def _thought(seal: Seal, text: str) -> dict[str, Any]:
    fields = {"provider": seal.provider, "text": text, "signature": seal.signature, "id": seal.id}
    return {"type": "reasoning", **{name: value for name, value in fields.items() if value is not None}}


def messages_send(
    body: MessagesBody, model: str | None, target: Target, hints: Hints, native: Mapping[str, Any] | None
) -> tuple[dict[str, Any], Places]:
    """The fields of `chat.send` and where its messages come from; `native` is the request as a vendor of this dialect gets it.

    The turn is not kept, no tool of the server is offered, and it ends with the calls of the client's tools. Raises
    `UnsupportedParameter` or `InvalidRequest` that names the field; what was dropped is in `hints`.
    """
    translation = Translation(body, target, hints)
    translation.judge()
    fields = {
        "model": model,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": translation.top_k(body.top_k),
        "stop": body.stop_sequences or None,
        "max_output_tokens": body.max_tokens,
        "user": body.metadata.user_id if body.metadata else None,
        "native": {DIALECT: dict(native)} if native is not None else None,
    }
    sent = {
        "input": translation.messages(),
        "store": False,
        "client_tools": "return",
        "server_tools": [],
        **translation.settings(),
        **{name: value for name, value in fields.items() if value is not None},
    }
    return sent, translation.places
