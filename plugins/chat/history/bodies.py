"""What clients send to the addresses of the history."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from engine.api.commands import Body
from plugins.chat.history.pages import MARK

Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]
Tag = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, pattern=r'^[^"\\\x00-\x1f]*$')
]


def _each_once(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Tags = Annotated[
    list[Tag],
    Field(max_length=32, description="Words to find it by, without quotes or backslashes."),
    AfterValidator(_each_once),
]
Limit = Annotated[int, Field(ge=1, le=200, description="The longest page to answer.")]


Mark = Annotated[str, Field(max_length=100, json_schema_extra={"pattern": MARK})]


class Query(Body):
    """Root of the queries: values arrive as text, so numbers and truth are read from it."""

    model_config = {"strict": False, "extra": "forbid", "frozen": True}


class ConversationsQuery(Query):
    """Which conversations to list."""

    limit: Limit = 50
    before: Mark | None = Field(default=None, description="`next` of the page before.")
    tag: Tag | None = None
    favourite: bool | None = None
    model: str | None = Field(default=None, max_length=200, description="Name of the model that was asked for last.")


class SearchQuery(Query):
    """What to look for: all words must be there, each as the beginning of one."""

    q: str = Field(min_length=1, max_length=500)
    limit: Limit = 20
    before: str | None = Field(default=None, max_length=100, description="`next` of the page before.")


class MessagesQuery(Query):
    """Which messages to list."""

    view: Literal["path", "tree"] = Field(
        default="path", description="path: the branch that is shown; tree: all branches, each message after its parent."
    )


class ExportQuery(Query):
    """How to write the file."""

    format: Literal["json", "markdown"] = Field(
        default="json", description="json: everything; markdown: the branch that is shown, for people."
    )


class PromptsQuery(Query):
    """Which prompts to list."""

    limit: Limit = 50
    before: Mark | None = Field(default=None, description="`next` of the page before.")
    tag: Tag | None = None


class ConversationCreate(Body):
    """An empty conversation."""

    title: Title | None = Field(default=None, description="Absent: the first words that are said.")
    tags: Tags = []
    favourite: bool = False


class ConversationChange(Body):
    """What to change; what is absent or null stays."""

    title: Title | None = None
    tags: Tags | None = None
    favourite: bool | None = None
    leaf: str | None = Field(
        default=None,
        max_length=64,
        description="A message whose branch to show, down to the youngest message under it.",
    )


class MessageEdit(Body):
    """Other words for a message; its attachments stay."""

    text: str = Field(min_length=1)


class MessageTruncate(Body):
    """How much of an answer was heard."""

    heard: str = Field(
        max_length=1_000_000,
        description="The beginning of its text that was heard; blanks do not count. What follows is forgotten.",
    )


class Fork(Body):
    """Which branch to copy."""

    message: str | None = Field(
        default=None, max_length=64, description="The last message to copy; absent: the last one shown."
    )
    title: Title | None = Field(default=None, description="Absent: that of the conversation.")


MOST_PROMPT = 200_000
"""Characters of a saved prompt."""


class PromptCreate(Body):
    """A prompt to save."""

    title: Title
    text: str = Field(min_length=1, max_length=MOST_PROMPT)
    tags: Tags = []


class PromptChange(Body):
    """What to change; what is absent or null stays."""

    title: Title | None = None
    text: str | None = Field(default=None, min_length=1, max_length=MOST_PROMPT)
    tags: Tags | None = None
