"""How large the request is that the running code serves; tasks that it starts inherit the figure."""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_SIZE: ContextVar[int] = ContextVar("request_size", default=0)
"""Bytes of the frame or body; 0 where no request is served."""
