"""What a client of a realtime session sends, event by event (types: `openai.types.realtime`)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import BeforeValidator, Field, ValidationError

from engine.api import InvalidRequest
from engine.wire.bounds import Name, Notes
from engine.wire.validation import explain
from plugins.openai_api.realtime_bodies import AnySessionBody, OpenPart, Part, of_a_type


class _Event(Part):
    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(_Event):
    """Set what is to be different."""

    type: Literal["session.update"]
    session: Annotated[AnySessionBody, BeforeValidator(of_a_type)]


class Append(_Event):
    """Audio in base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(_Event):
    """What was spoken is a turn."""

    type: Literal["input_audio_buffer.commit"]


class Clear(_Event):
    """What was spoken is forgotten."""

    type: Literal["input_audio_buffer.clear"]


class Text(Part):
    """A text; `output_text` of the assistant's."""

    type: Literal["input_text", "output_text", "text"]
    text: str = Field(min_length=1, max_length=100_000)


class Recording(Part):
    """Something that the user said, in base64 and in the form of the session's audio."""

    type: Literal["input_audio"]
    audio: str
    transcript: str | None = None


class Message(Part):
    """Something said, at once and whole."""

    type: Literal["message"]
    role: Literal["user", "system", "assistant"]
    content: list[Annotated[Text | Recording, Field(discriminator="type")]] = Field(min_length=1, max_length=100)
    id: str | None = Field(default=None, max_length=64)
    object: Literal["realtime.item"] | None = None
    status: Name | None = None


class CallOutput(Part):
    """What a function answered."""

    type: Literal["function_call_output"]
    call_id: str = Field(max_length=200)
    output: str
    id: str | None = Field(default=None, max_length=64)
    object: Literal["realtime.item"] | None = None
    status: Name | None = None


class ItemCreate(_Event):
    """An item of the conversation."""

    type: Literal["conversation.item.create"]
    item: Annotated[Message | CallOutput, Field(discriminator="type")]
    previous_item_id: Name | None = None


class ItemRetrieve(_Event):
    """Show an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: Name


class ItemDelete(_Event):
    """Forget an item."""

    type: Literal["conversation.item.delete"]
    item_id: Name


class Truncate(_Event):
    """How much of an answer was played."""

    type: Literal["conversation.item.truncate"]
    item_id: Name
    content_index: int = 0
    audio_end_ms: int = Field(ge=0)


class ResponseOptions(OpenPart):
    """What is special about one answer."""

    instructions: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = Field(default=None, max_length=2)
    conversation: Literal["auto"] | None = None
    metadata: Notes | None = None


class ResponseCreate(_Event):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseOptions | None = None


class ResponseCancel(_Event):
    """Stop the answer."""

    type: Literal["response.cancel"]
    response_id: Name | None = None


ClientEvent = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | Truncate
    | ResponseCreate
    | ResponseCancel
)

_KINDS: dict[str, type[_Event]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.delete": ItemDelete,
    "conversation.item.truncate": Truncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}


def parsed(data: str | bytes) -> dict[str, Any]:
    """The JSON object that a message is."""
    try:
        told = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    if not isinstance(told, dict):
        raise InvalidRequest("an event is a JSON object with a type")
    return told


def event_of(told: dict[str, Any]) -> ClientEvent:
    """The event that a JSON object is; raises what is wrong with it."""
    kind = _KINDS.get(str(told.get("type")))
    if kind is None:
        known = ", ".join(_KINDS)
        raise InvalidRequest(f"there is no event {str(told.get('type'))[:60]!r} here; there are: {known}", field="type")
    try:
        return cast("ClientEvent", kind.model_validate(told))
    except ValidationError as error:
        raise explain(error, kind, what="event") from None


def decoded(audio: str, field: str = "audio") -> bytes:
    """Audio out of its base64."""
    try:
        return base64.b64decode(audio, validate=True)
    except binascii.Error:
        raise InvalidRequest(f"{field} is no base64", field=field) from None
