"""The trace that the current call belongs to, for who passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

TRACE: ContextVar[Mapping[str, str]] = ContextVar("betterai_trace", default=MappingProxyType({}))


def trace_headers() -> Mapping[str, str]:
    """Headers to add to a request that is made for the current call (W3C Trace Context); empty where nothing is traced."""
    return TRACE.get()
