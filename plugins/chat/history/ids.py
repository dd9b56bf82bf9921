"""Ids of what the history keeps: they sort by the time they were made and cannot be guessed."""

from __future__ import annotations

from datetime import datetime

from engine.api.ids import random_hex


def new_id(prefix: str, at: datetime) -> str:
    """`prefix`, 12 hexadecimal digits of milliseconds since 1970, and 16 random ones."""
    return f"{prefix}{int(at.timestamp() * 1000):012x}{random_hex(8)}"


def new_ids(prefix: str, at: datetime, count: int) -> list[str]:
    """Ids of one moment that sort in this order."""
    return sorted(new_id(prefix, at) for _ in range(count))
