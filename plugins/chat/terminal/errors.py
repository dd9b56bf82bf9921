"""Why the terminal client cannot go on, or has to ask again."""

from __future__ import annotations

from engine.api.errors import ErrorBody


def problem(code: str, message: str, *, retryable: bool = False) -> ErrorBody:
    """An error that the client itself has found, in the form of the server's."""
    return ErrorBody(code=code, message=message, retryable=retryable)


class ChatFailure(Exception):
    """Root of what ends a turn, told to the person at the terminal. `body` has a stable code and a helpful sentence."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.message)
        self.body = body


class NoServer(ChatFailure):
    """Raised when nothing answers at the address, and nothing has since the client was made."""

    def __init__(self, url: str) -> None:
        message = f"no server at {url}; start one with `betterai serve`, or name another address with --server"
        super().__init__(problem("no_server", message, retryable=True))


class GaveUp(ChatFailure):
    """Raised when a server that was there has not come back within the client's patience."""

    def __init__(self, url: str, seconds: float) -> None:
        message = (
            f"the server at {url} has not come back within {seconds:g} seconds; what it has answered is kept there"
        )
        super().__init__(problem("connection_lost", message, retryable=True))


class Refused(ChatFailure):
    """Raised when the server refused the session or the command."""


class Dropped(Exception):
    """Raised when a connection is gone, or of no more use; another one may do."""


class AskAgain(Exception):
    """Raised when this connection no longer sends the turn's events, but will when it is asked again."""
