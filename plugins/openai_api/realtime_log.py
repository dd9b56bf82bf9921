"""What a realtime session has told: events with ids of their own, and the items of its conversation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Any

from engine.api import ErrorBody
from engine.api.ids import random_hex
from engine.wire.dialect_errors import OpenAIError, bounds_of
from plugins.openai_api.errors import openai_error

ServerEvent = dict[str, Any]
Item = dict[str, Any]

REMEMBERED = 1_000
"""Items that can be asked for; older ones are still part of the conversation, and cannot be shown again."""


def new_item_id() -> str:
    """An id for an item that the server makes."""
    return f"item_{random_hex(12)}"


def told_error(error: ErrorBody) -> OpenAIError:
    """An error in OpenAI's words; its field is one of the client's event already."""
    return openai_error(error, spelt=lambda field: field).error


class SessionLog:
    """One session's events and items, in order."""

    def __init__(self) -> None:
        self.last: str | None = None
        """The item that the next one follows."""
        self.names: dict[str, dict[str, Any]] = {}
        """By what `realtime.forget` knows an item; what it does not know at all cannot be deleted."""
        self._numbers = count(1)
        self._items: OrderedDict[str, Item] = OrderedDict()

    def event(self, type: str, **fields: Any) -> ServerEvent:
        """An event with an id of its own."""
        return {"type": type, "event_id": f"event_{next(self._numbers):06d}", **fields}

    def error(self, error: ErrorBody, event: str | None = None) -> ServerEvent:
        """Something went wrong; `event` is the id of the client's event that did."""
        told = told_error(error)
        fields = {"type": told.type, "code": told.code, "message": told.message, "param": told.param}
        return self.event("error", error={**fields, "event_id": event, **bounds_of(error)})

    def find(self, id: str) -> Item | None:
        """An item of the conversation, as it is now."""
        return self._items.get(id)

    def drop(self, id: str) -> None:
        """An item is no part of the conversation any more."""
        del self._items[id]
        self.names.pop(id, None)
        if self.last == id:
            self.last = next(reversed(self._items), None)

    def whole(self, item: Item) -> Iterator[ServerEvent]:
        """An item that is whole from the beginning."""
        kept = {**item, "object": "realtime.item", "status": "completed"}
        yield self.added(kept)
        yield self.done(kept)

    def added(self, item: Item) -> ServerEvent:
        """An item begins."""
        return self.event("conversation.item.added", previous_item_id=self.last, item=item)

    def done(self, item: Item) -> ServerEvent:
        """An item is whole; the next one follows it."""
        told = self.event("conversation.item.done", previous_item_id=self.last, item=item)
        self.last = item["id"]
        self._items[item["id"]] = item
        if len(self._items) > REMEMBERED:
            self.names.pop(self._items.popitem(last=False)[0], None)
        return told
