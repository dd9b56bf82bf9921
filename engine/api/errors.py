"""Errors that reach a client: each is named for its condition and carries a stable code."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An error as it stands in `rejected`, in `stream.ended` and in problem+json.

    `limit` is the bound that was reached and `remaining` what is left of it, in the unit that the message names.
    """

    code: str
    message: str
    retryable: bool
    field: str | None = None
    retry_after: float | None = None
    limit: float | None = None
    remaining: float | None = None


class EngineError(Exception):
    """Root of every error that the engine or a plugin shows to a client.

    `message` is a sentence for the person who gets it: what was wrong and what would be right, never a secret.
    `code`, `status` (HTTP) and `retryable` belong to the class; `field` names the key at fault; `retry_after` is in seconds.
    `limit` is the bound that was reached and `remaining` what is left of it, in the unit that the message names.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: bool = False
    detail: str | None = None
    """More than `message`, for the log alone: addresses, paths, a library's own words."""
    partial: msgspec.Struct | None = None
    """What a turn had said before it failed, where nothing of it was sent yet (`engine.api.Partial`)."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        limit: float | None = None,
        remaining: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.limit = limit
        self.remaining = remaining
        if retryable is not None:
            self.retryable = retryable

    def body(self) -> ErrorBody:
        """The error in the form in which it goes over the wire."""
        return ErrorBody(
            code=self.code,
            message=self.message,
            field=self.field,
            retryable=self.retryable,
            retry_after=self.retry_after,
            limit=self.limit,
            remaining=self.remaining,
        )


class Internal(EngineError):
    """Raised when the engine or a plugin failed in a way that it did not foresee; the log has the cause."""


# What the client sent


class InvalidFrame(EngineError):
    """Raised when a frame is not a JSON object, not valid UTF-8, or of a kind that is not expected here."""

    code = "invalid_frame"
    status = 400


class FrameTooLarge(EngineError):
    """Raised when a frame or a body is longer than the configured bound."""

    code = "too_large"
    status = 413


class RequestTimeout(EngineError):
    """Raised when a request's body stops arriving, or arrives too slowly."""

    code = "request_timeout"
    status = 408
    retryable = True


class InvalidRequest(EngineError):
    """Raised when a field is missing, unknown, of the wrong type or out of range."""

    code = "invalid_request"
    status = 400


class UnsupportedParameter(EngineError):
    """Raised when the model that was asked for cannot do what a field demands."""

    code = "unsupported_parameter"
    status = 400


class UnsupportedMedia(EngineError):
    """Raised when a body or an attachment is of a type that is not taken here."""

    code = "unsupported_media"
    status = 415


class UnknownCommand(EngineError):
    """Raised when no plugin answers a command of this name."""

    code = "unknown_command"
    status = 404


class NotFound(EngineError):
    """Raised when there is nothing under this address or id."""

    code = "not_found"
    status = 404


class MethodNotAllowed(EngineError):
    """Raised when the address exists but not for this HTTP method."""

    code = "method_not_allowed"
    status = 405


class UpgradeRequired(EngineError):
    """Raised when the address is a WebSocket and the request asks for no upgrade."""

    code = "upgrade_required"
    status = 426


class FeatureDisabled(EngineError):
    """Raised when the plugin that answers this name is installed or known, but off."""

    code = "feature_disabled"
    status = 404


class Conflict(EngineError):
    """Raised when another turn of the same conversation still runs."""

    code = "conflict"
    status = 409
    retryable = True


class IdempotencyConflict(EngineError):
    """Raised when a key comes again with another body."""

    code = "idempotency_conflict"
    status = 409


# Who asks


class Unauthenticated(EngineError):
    """Raised when a credential is missing, unknown or revoked."""

    code = "unauthenticated"
    status = 401


class Forbidden(EngineError):
    """Raised when the caller is known but may not do this."""

    code = "forbidden"
    status = 403


class LimitExceeded(EngineError):
    """Raised when a configured limit of the session or principal is reached."""

    code = "limit_exceeded"
    status = 429
    retryable = True


class BudgetExceeded(EngineError):
    """Raised when a budget has less left than a turn may use; `retry_after` says when it is whole again."""

    code = "budget_exceeded"
    status = 429


# Streams


class StreamNotFound(EngineError):
    """Raised for a stream id that is unknown or belongs to somebody else; the two look alike on purpose."""

    code = "stream_not_found"
    status = 404


class StreamExpired(EngineError):
    """Raised when the events that were asked for are no longer held and no record of the turn is left."""

    code = "stream_expired"
    status = 410


class StreamElsewhere(EngineError):
    """Raised while a stream runs on another server of the same database; when it has ended, every server tells of it."""

    code = "stream_elsewhere"
    status = 503
    retryable = True


class SlowConsumer(EngineError):
    """A reader fell off the tail of a stream's log; it may resume after the last number it saw."""

    code = "slow_consumer"
    status = 409
    retryable = True


class NotOwner(EngineError):
    """Raised when something writes to a stream without holding its current token."""

    code = "not_owner"
    status = 409


class StreamOver(EngineError):
    """Raised when the owner of a stream writes after its terminal event."""

    code = "stream_over"
    status = 409


class LogUnavailable(EngineError):
    """The stream's log could not take its events any more."""

    code = "log_unavailable"
    status = 503
    retryable = True


class OwnerLost(EngineError):
    """The process that ran the turn died; what was checkpointed is kept."""

    code = "owner_lost"
    status = 503
    retryable = True


class Cancelled(EngineError):
    """The turn was stopped before it could answer."""

    code = "cancelled"
    status = 409


class ShuttingDown(EngineError):
    """The server drains: it takes no new work and asks clients to come back elsewhere."""

    code = "shutting_down"
    status = 503
    retryable = True


class Overloaded(EngineError):
    """A bounded queue of the server is full."""

    code = "overloaded"
    status = 503
    retryable = True


class DatabaseUnavailable(EngineError):
    """The database refused or did not answer in time."""

    code = "database_unavailable"
    status = 503
    retryable = True


# Stored objects


class ObjectNotFound(EngineError):
    """Raised for the id of an object that is unknown, deleted, expired, or belongs to somebody else."""

    code = "object_not_found"
    status = 404


class QuotaExceeded(EngineError):
    """Raised when an object is larger than what is left of its owner's quota."""

    code = "quota_exceeded"
    status = 413


class StorageUnavailable(EngineError):
    """Raised when objects cannot be kept or read now, as on a full disk."""

    code = "storage_unavailable"
    status = 503
    retryable = True


class RangeNotSatisfiable(EngineError):
    """Raised when a request asks for a part of a file that lies behind its end; `size` is the file's, in bytes."""

    code = "range_not_satisfiable"
    status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, and Range asks for none of them")
        self.size = size


# Models and their providers


class ModelNotFound(EngineError):
    """Raised when no catalogue entry, alias or vendor prefix fits the model's name."""

    code = "model_not_found"
    status = 404


class ModelUnavailable(EngineError):
    """Raised when the model is known but its provider is off, unconfigured or cannot start."""

    code = "model_unavailable"
    status = 503


class ModelRetired(EngineError):
    """Raised when the vendor has closed the model; the message names its successor."""

    code = "model_retired"
    status = 410


class ContextTooLong(EngineError):
    """Raised when the input does not fit the model's context window."""

    code = "context_too_long"
    status = 400


class ProviderError(EngineError):
    """The vendor answered with an error or broke its protocol."""

    code = "provider_error"
    status = 502
    begun: bool = False
    """The vendor had the request, and may have begun to answer, when it failed: it may bill the call."""


class ProviderUnavailable(ProviderError):
    """The vendor could not be reached, is overloaded, or cut the answer off."""

    code = "provider_unavailable"
    retryable = True


class ProviderRefused(ProviderError):
    """The vendor refused our credential or our right to this model."""

    code = "provider_refused"


class ProviderRateLimited(ProviderError):
    """The vendor's rate limit or quota is used up."""

    code = "provider_rate_limited"
    status = 429
    retryable = True


class ProviderTimeout(ProviderError):
    """The vendor did not answer within the configured deadline."""

    code = "provider_timeout"
    status = 504
    retryable = True


class AnswerTooLong(ProviderError):
    """The answer is longer than `[limits] answer_characters`; the request to the vendor was ended, what came is kept."""

    code = "answer_too_long"


class ToolCallNotFound(EngineError):
    """Raised for a result to a call that no running turn has made, or that is wanted no more."""

    code = "tool_call_not_found"
    status = 404


class ToolFailed(EngineError):
    """A tool raised, timed out or answered nonsense; the model is told so."""

    code = "tool_failed"
    status = 500
