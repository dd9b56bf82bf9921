"""`/v1/models` for clients of Anthropic's, which ask under the same address (types: `anthropic.types.ModelInfo`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from pydantic import Field

from engine.api import Body, InvalidRequest
from plugins.openai_api.models_cards import ModelCard

VERSION = "anthropic-version"
"""The header that every client of Anthropic's sends, and no other one."""

UNKNOWN = "1970-01-01T00:00:00Z"
"""What Anthropic says where a day is not known."""


class ModelsQuery(Body):
    """A page of the list, for clients of Anthropic's; others get the whole list."""

    model_config = {"strict": False, "extra": "ignore"}

    limit: int = Field(default=20, ge=1, le=1_000, description="Of Anthropic's form alone, as the ids.")
    after_id: str | None = Field(default=None, max_length=200)
    before_id: str | None = Field(default=None, max_length=200)


class AnthropicModel(msgspec.Struct, kw_only=True):
    """A model that chats; the day on which it was made is not known."""

    id: str
    display_name: str
    max_input_tokens: int | None
    max_tokens: int | None
    lifecycle: Literal["active", "deprecated"]
    retires_at: str | None
    type: Literal["model"] = "model"
    created_at: str = UNKNOWN


class AnthropicModelPage(msgspec.Struct, kw_only=True):
    """Some of the models, and where the next ones begin."""

    data: list[AnthropicModel]
    first_id: str | None
    last_id: str | None
    has_more: bool


def is_anthropics(headers: Mapping[str, str]) -> bool:
    """Whether a client of Anthropic's asks."""
    return VERSION in headers


def anthropic_model(card: ModelCard) -> AnthropicModel:
    """A model as Anthropic shows one."""
    day = card.shutdown_date
    return AnthropicModel(
        id=card.id,
        display_name=card.id,
        max_input_tokens=card.context,
        max_tokens=card.max_output,
        lifecycle="active" if day is None else "deprecated",
        retires_at=None if day is None else f"{day}T00:00:00Z",
    )


def anthropic_page(cards: Sequence[ModelCard], query: ModelsQuery) -> AnthropicModelPage:
    """The models that chat, behind or before an id; raises `InvalidRequest` for an id that is none of theirs."""
    chatting = [card for card in cards if card.role == "chat"]
    begin, end = 0, len(chatting)
    if query.after_id is not None:
        begin = _place(chatting, query.after_id, "after_id") + 1
    elif query.before_id is not None:
        end = _place(chatting, query.before_id, "before_id")
        begin = max(0, end - query.limit)
    page = [anthropic_model(card) for card in chatting[begin : min(end, begin + query.limit)]]
    backwards = query.after_id is None and query.before_id is not None
    return AnthropicModelPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=begin > 0 if backwards else begin + len(page) < end,
    )


def _place(cards: Sequence[ModelCard], id: str, field: str) -> int:
    for at, card in enumerate(cards):
        if card.id == id:
            return at
    raise InvalidRequest(f"{field} is no model of the list; it is an id that the list has", field=field)
