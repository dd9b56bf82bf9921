"""What goes wrong in a realtime session alone, by OpenAI's codes where it has one."""

from __future__ import annotations

from engine.api import Conflict, InvalidRequest


class EmptyBuffer(InvalidRequest):
    """Raised for a commit of nothing."""

    code = "input_audio_buffer_commit_empty"


class NothingToCancel(InvalidRequest):
    """Raised where nothing is to be cancelled."""

    code = "response_cancel_not_active"


class AlreadyAnswering(Conflict):
    """Raised for a second response beside the first."""

    code = "conversation_already_has_active_response"


class ItemNotFound(InvalidRequest):
    """Raised for the id of an item that the conversation has not."""

    code = "item_not_found"


class OnlyListens(InvalidRequest):
    """Raised for an event about answers where there are none."""

    code = "transcription_session"
