"""The column types of the public door, under the name that this layer uses."""

from engine.api.columns import Json, Key, LongText, UtcDateTime

__all__ = ("Json", "Key", "LongText", "UtcDateTime")
