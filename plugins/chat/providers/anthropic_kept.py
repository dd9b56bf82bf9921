"""What Claude said, as Anthropic wants it back to go on with it (types: `anthropic.types.ContentBlockParam`)."""

from __future__ import annotations

from typing import Any

import msgspec


class Kept:
    """The content of one message as the vendor wants it back, put together from its events."""

    __slots__ = ("blocks",)

    def __init__(self) -> None:
        self.blocks: dict[int, dict[str, Any]] = {}

    def start(self, data: bytes) -> None:
        """Take a `content_block_start`."""
        event = msgspec.json.decode(data)
        self.blocks[event.get("index", 0)] = event["content_block"]

    def grow(self, data: bytes) -> None:
        """Take a `content_block_delta`."""
        event = msgspec.json.decode(data)
        block, delta = self.blocks[event.get("index", 0)], event["delta"]
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "input_json_delta":
                block["partial"] = block.get("partial", "") + delta["partial_json"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def whole(self, index: int) -> dict[str, Any]:
        """One block that has stopped."""
        return _whole(self.blocks[index])

    @property
    def content(self) -> list[dict[str, Any]]:
        """The whole blocks, in order; a blank text is refused by the vendor that sent it."""
        return [_whole(block) for _, block in sorted(self.blocks.items()) if block.get("text", "…").strip()]


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    whole = {name: value for name, value in block.items() if name != "partial"}
    return {**whole, "input": msgspec.json.decode(block["partial"])} if block.get("partial") else whole
