"""What clients send to the addresses of stored objects."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from engine.api import Body
from plugins.storage.settings import LONGEST_LINK
from plugins.storage.shelf import ID


class Query(Body):
    """Root of the queries: values arrive as text, so numbers are read from it."""

    model_config = ConfigDict(strict=False)


class ObjectsQuery(Query):
    """Which objects to list."""

    limit: int = Field(default=50, ge=1, le=200, description="The longest page to answer.")
    before: Annotated[str, Field(pattern=ID)] | None = Field(default=None, description="`next` of the page before.")
    origin: str | None = Field(default=None, max_length=64, description="The stream that they were made in.")


class LinkQuery(Query):
    """What a link carries."""

    expires: int = Field(ge=0, le=253_402_300_799, description="When it ends, in seconds since 1970.")
    signature: str = Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$", description="Says that it was made here.")


class LinkAsked(Body):
    """How long a link is to last."""

    seconds: float | None = Field(
        default=None,
        ge=1,
        le=LONGEST_LINK,
        description="Seconds; absent: as the operator says. Never longer than its object.",
    )
