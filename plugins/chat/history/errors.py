"""What can be asked for that is not there. An id of somebody else's is answered like one that never was."""

from __future__ import annotations

from engine.api.errors import EngineError


class ConversationNotFound(EngineError):
    """Raised for a conversation id that is unknown or belongs to somebody else."""

    code = "conversation_not_found"
    status = 404

    def __init__(self, field: str | None = None) -> None:
        super().__init__(
            "you have no conversation of this id; leave it out to begin one, and its id will be told", field=field
        )


class MessageNotFound(EngineError):
    """Raised for a message id that the conversation does not have."""

    code = "message_not_found"
    status = 404

    def __init__(self, field: str | None = None) -> None:
        super().__init__("this conversation has no message of this id", field=field)


class PromptNotFound(EngineError):
    """Raised for a prompt id that is unknown or belongs to somebody else."""

    code = "prompt_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("you have saved no prompt of this id")
