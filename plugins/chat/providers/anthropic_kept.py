"""What Claude said, as Anthropic wants it back to go on with it (types: `anthropic.types.ContentBlockParam`)."""

from __future__ import annotations

from typing import Any

import msgspec

from plugins.vendors.lenient import read_json


class Kept:
    """The content of one message as the vendor wants it back, put together from its events."""

    __slots__ = ("blocks",)

    def __init__(self) -> None:
        self.blocks: dict[int, dict[str, Any]] = {}

    def start(self, data: bytes) -> None:
        """Take a `content_block_start`."""
        event = read_json(data)
        self.blocks[_index(event)] = event["content_block"]

    def grow(self, data: bytes) -> None:
        """Take a `content_block_delta`."""
        event = read_json(data)
        block, delta = self.blocks.get(_index(event)), event["delta"]
        if block is None:
            return
        match delta.get("type"):
            case "text_delta":
                _lengthen(block, "text", delta, "text")
            case "thinking_delta":
                _lengthen(block, "thinking", delta, "thinking")
            case "signature_delta":
                block["signature"] = delta.get("signature")
            case "input_json_delta":
                _lengthen(block, "partial", delta, "partial_json")
            case "citations_delta" if "citation" in delta:
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def whole(self, index: int) -> dict[str, Any]:
        """One block that has stopped."""
        return _whole(self.blocks.get(index, {}))

    @property
    def content(self) -> list[dict[str, Any]]:
        """The whole blocks, in order; a blank text is refused by the vendor that sent it."""
        return [_whole(block) for _, block in sorted(self.blocks.items()) if str(block.get("text", "…")).strip()]


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return int(index) if isinstance(index, int | str) and str(index).isdecimal() else 0


def _lengthen(block: dict[str, Any], name: str, delta: dict[str, Any], piece: str) -> None:
    block[name] = f"{block.get(name) or ''}{delta.get(piece) or ''}"


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    whole = {name: value for name, value in block.items() if name != "partial"}
    return {**whole, "input": msgspec.json.decode(block["partial"])} if block.get("partial") else whole
