"""The history: what a turn reads before it starts, what it leaves behind, and the doors to all that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from engine.api.chat import Message, ReasoningPart
from engine.api.commands import Lost
from engine.api.data import Database, Write
from engine.api.errors import InvalidRequest
from engine.api.identity import Principal
from engine.api.streams import Ending
from plugins.chat.history.conversations import Conversations
from plugins.chat.history.ids import new_id
from plugins.chat.history.messages import Messages
from plugins.chat.history.prompts import Prompts
from plugins.chat.history.reading import read_for_provider
from plugins.chat.history.records import message_of
from plugins.chat.history.search import Search
from plugins.chat.history.tables import conversations
from plugins.chat.history.thread import Thread, says_something
from plugins.chat.history.turns import NO_TITLE, Opened, Told, close_turn, open_turn, recorded, recovered_turn

ROOT = "root"
"""As a turn's parent: begin again at the top of the conversation, beside what it began with."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class History:
    """Conversations of every principal in one database. Nobody sees, or can tell from, what is another's."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now
        self.conversations = Conversations(database, now)
        self.messages = Messages(database, now)
        self.prompts = Prompts(database, now)
        self.search = Search(database)

    async def thread(self, principal: Principal, conversation: str | None, parent: str | None) -> Thread:
        """What a turn goes on with: the branch that ends with `parent`, or the one that is shown.

        Without a `conversation` it is the empty thread of one to begin; `parent` "root" goes on with nothing. Raises
        `ConversationNotFound` and `MessageNotFound`, for foreign ids too.
        """
        if conversation is None:
            if parent is not None:
                raise InvalidRequest("parent is a message of a conversation; name the conversation too", field="parent")
            return Thread(conversation=new_id("c_", self._now()), new=True, title=NO_TITLE)
        whole = await read_for_provider(self._database, principal, conversation, field="conversation")
        if parent not in (None, ROOT):
            whole.row(parent, field="parent")
        leaf = None if parent == ROOT else parent or whole.leaf
        told = whole.conversation
        branch = [message_of(row) for row in whole.branch(leaf)]
        return Thread(
            conversation=conversation,
            untitled=told.titled_by == "first_words" and not whole.rows,
            parent=leaf,
            messages=tuple(message for message in branch if says_something(message)),
            title=told.title,
            tags=tuple(told.tags),
        )

    def opening(
        self,
        thread: Thread,
        principal: Principal,
        messages: Sequence[Message],
        *,
        model: str | None,
        stream: str,
        metadata: Mapping[str, str] | None = None,
    ) -> Opened:
        """The rows of a turn's question, for its accept commit. No messages asks for another answer to the thread."""
        return open_turn(
            thread, principal.id, messages, model=model, stream=stream, metadata=metadata or {}, now=self._now()
        )

    def closing(
        self,
        opened: Opened,
        ending: Ending,
        *,
        steps: Sequence[Message] = (),
        reasoning: Sequence[ReasoningPart] = (),
    ) -> list[Write]:
        """The rows of a turn's answer, for its end commit.

        `steps` are the messages of the tool loop before the last call to the model, `reasoning` what the last one's vendor
        wants back. A turn that failed or was cancelled leaves what it said, marked, and a message also when it said nothing.
        """
        return close_turn(opened, ending, steps, reasoning, self._now())

    def recovered(self, lost: Lost) -> list[Write]:
        """The same for a turn whose process died; `lost.detail` is `Opened.detail`."""
        return recovered_turn(lost, self._now())

    async def record(
        self, principal: Principal, conversation: str | None, told: Sequence[Told]
    ) -> tuple[str, list[str]]:
        """Keep what was said outside of any turn after the branch that is shown; gives the conversation and the ids."""
        thread = await self.thread(principal, conversation, None)
        rows, ids = recorded(thread, principal.id, told, self._now())
        await self._database.submit(rows)
        return thread.conversation, ids

    async def name(self, principal: Principal, conversation: str, title: str) -> None:
        """Give a conversation a title that a model found, unless its user has named it."""
        unnamed = {"id": conversation, "principal": principal.id, "titled_by": "first_words"}
        values = {"title": title[:200], "titled_by": "model"}
        await self._database.submit([Write(conversations, "update", values, unnamed)])
