"""Items that a request names by their ids: of the caller's stored responses, and of what those were asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import TypeAdapter

from engine.api import Commands, EngineError, InvalidRequest, NotFound, Principal, SlowConsumer, StreamExpired
from engine.api.streams import StreamReader
from plugins.openai_api.response import Item, Output, output_of, response_id
from plugins.openai_api.responses_bodies import Item as InputItem
from plugins.openai_api.responses_bodies import ItemReference, ResponsesBody
from plugins.openai_api.responses_store import Responses, Stored

MOST_RESPONSES = 100
"""Stored responses that the references of one request may lead to."""

_ID = re.compile(r"(?P<kind>msg|fc|ctc|rs|in)_(?P<stream>.+)_(?P<at>\d{1,6})")
_read: TypeAdapter[InputItem] = TypeAdapter(InputItem)


class ResponseItemNotFound(NotFound):
    """Raised where a request names an item that is unknown, of a deleted response or one that was not stored, or another's."""

    code = "response_item_not_found"

    def __init__(self, id: str, field: str) -> None:
        super().__init__(f"Item with id '{id[:80]}' not found; send the item itself", field=field)


class References:
    """Puts stored items in the place of references to them."""

    def __init__(self, commands: Commands, stored: Responses) -> None:
        self._commands = commands
        self._stored = stored

    async def resolved(self, principal: Principal, body: ResponsesBody) -> ResponsesBody:
        """The body without references; raises `ResponseItemNotFound`."""
        if not isinstance(body.input, list) or not any(isinstance(item, ItemReference) for item in body.input):
            return body
        known: dict[str, list[Item]] = {}
        items: list[InputItem] = []
        for at, item in enumerate(body.input):
            items.append(await self._one(principal, item, at, known) if isinstance(item, ItemReference) else item)
        return body.model_copy(update={"input": items})

    async def _one(
        self, principal: Principal, reference: ItemReference, at: int, known: dict[str, list[Item]]
    ) -> InputItem:
        unknown = ResponseItemNotFound(reference.id, f"input.{at}.id")
        if (parts := _ID.fullmatch(reference.id)) is None:
            raise unknown
        stream = parts["stream"]
        if stream not in known:
            if len(known) >= MOST_RESPONSES:
                raise InvalidRequest(
                    f"the references of a request lead to at most {MOST_RESPONSES} responses; send the items themselves",
                    field="input",
                )
            try:
                known[stream] = await self._items(principal, stream)
            except EngineError as error:
                if error.status == 404:
                    raise unknown from None
                raise
        found = _find(known[stream], reference.id)
        if found is None:
            raise unknown
        return _read.validate_python(found)

    async def _items(self, principal: Principal, stream: str) -> list[Item]:
        """What a stored response was asked, and what came of it so far."""
        stored = await self._stored.find(principal, response_id(stream))
        reader = await self._commands.watch(principal, stream)
        try:
            return [*stored.input, *await output_items(reader, stored)]
        finally:
            reader.close()


async def output_items(reader: StreamReader, stored: Stored) -> list[Item]:
    """The output of a response that is over, as it was sent; of one that still runs, what it has said as a whole."""
    if reader.over is not None:
        output = Output(stored.stream, stored.asked.custom_tools)
        try:
            async for _, event in reader:
                output.add(event)
            output.end()
            return output.items
        except (SlowConsumer, StreamExpired):
            pass  # what is no longer held event by event is known as a whole
    return output_of(stored.stream, reader.said, stored.asked.custom_tools)


def _find(items: Sequence[Item], id: str) -> Item | None:
    for item in items:
        if item["id"] == id:
            return item
    # Of an answer that is only known as a whole the places may differ, not the kinds.
    same = [item for item in items if item["id"].partition("_")[0] == id.partition("_")[0] != "in"]
    return same[0] if len(same) == 1 else None
