"""The history: what a turn reads before it starts, what it leaves behind, and the doors to all that is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from engine.api.chat import Message, ReasoningPart
from engine.api.commands import Lost
from engine.api.data import Database, Write
from engine.api.errors import InvalidRequest
from engine.api.identity import Principal
from engine.api.streams import Ending
from plugins.chat.history.claims import Claims, Here, IsOpen, nothing_is_open
from plugins.chat.history.conversations import Conversations
from plugins.chat.history.errors import ConversationNotFound
from plugins.chat.history.forgetting import Forget, nothing_to_forget
from plugins.chat.history.ids import new_id
from plugins.chat.history.messages import Messages
from plugins.chat.history.prompts import Prompts
from plugins.chat.history.reading import Tree, read_end, read_for_provider
from plugins.chat.history.records import message_of
from plugins.chat.history.search import Search
from plugins.chat.history.tables import conversations
from plugins.chat.history.thread import Thread, says_something
from plugins.chat.history.turns import (
    NO_TITLE,
    Opened,
    Told,
    close_turn,
    open_turn,
    over_another,
    recorded,
    recovered_turn,
)

ROOT = "root"
"""As a turn's parent: begin again at the top of the conversation, beside what it began with."""


LONGEST_BRANCH = 10_000
"""The newest messages of a branch that a turn goes on with, far more than any model's context window holds."""


INSTRUCTIONS = 100
"""System messages that stay where older messages are left out."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class History:
    """Conversations of every principal in one database. Nobody sees, or can tell from, what is another's."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = utc_now,
        forget: Forget = nothing_to_forget,
        is_open: IsOpen = nothing_is_open,
        here: Callable[[], Awaitable[Here]] | None = None,
    ) -> None:
        self._database = database
        self._now = now
        self.claims = Claims(database, now, is_open, here)
        self.conversations = Conversations(database, now, self.claims, forget)
        self.messages = Messages(database, now, self.claims, forget)
        self.prompts = Prompts(database, now)
        self.search = Search(database)

    async def thread(
        self, principal: Principal, conversation: str | None, parent: str | None, *, newest: int = LONGEST_BRANCH
    ) -> Thread:
        """What a turn goes on with: the `newest` messages of the branch that ends with `parent`, or of the one that is shown.

        Without a `conversation` it is the empty thread of one to begin; `parent` "root" goes on with nothing. Raises
        `ConversationNotFound` and `MessageNotFound`, for foreign ids too.
        """
        if conversation is None:
            if parent is not None:
                raise InvalidRequest("parent is a message of a conversation; name the conversation too", field="parent")
            return Thread(conversation=new_id("c_", self._now()), new=True, title=NO_TITLE)
        if conversation in self.conversations.leaving:
            raise ConversationNotFound("conversation")
        ending = partial(_end_of, parent=parent)
        return await read_for_provider(
            self._database,
            principal,
            conversation,
            lambda tree: _newest(tree, ending(tree), newest),
            lambda tree: _thread(tree, ending(tree), newest),
            field="conversation",
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
            thread,
            principal.id,
            messages,
            model=model,
            stream=stream,
            metadata=metadata or {},
            now=self._now(),
            taken=self.claims.columns(stream),
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
        rows = close_turn(opened, ending, steps, reasoning, self._now())
        return [*rows, *self.claims.freed(opened.conversation, ending.stream)]

    def over(self, opened: Opened, ending: Ending, closing: Sequence[Write]) -> list[Write]:
        """The rows of `closing` for a turn that another server has closed with those of `recovered` meanwhile."""
        rows = over_another(opened, closing, self._now())
        return [*rows, *self.claims.freed(opened.conversation, ending.stream)]

    def recovered(self, lost: Lost) -> list[Write]:
        """The same for a turn whose process died; `lost.detail` is `Opened.detail`."""
        return [*recovered_turn(lost, self._now()), *self.claims.freed(lost.detail["conversation"], lost.stream)]

    async def record(
        self, principal: Principal, conversation: str | None, told: Sequence[Told]
    ) -> tuple[str, list[str]]:
        """Keep what was said outside of any turn after the branch that is shown; gives the conversation and the ids."""
        thread = await self._end(principal, conversation)
        rows, ids = recorded(thread, principal.id, told, self._now())
        await self._database.submit(rows)
        return thread.conversation, ids

    async def _end(self, principal: Principal, conversation: str | None) -> Thread:
        """Where the branch that is shown goes on, without its messages."""
        if conversation is None:
            return await self.thread(principal, None, None)
        told, leaf = await self._database.look(
            partial(read_end, principal=principal, id=conversation, field="conversation")
        )
        untitled = told.titled_by == "first_words" and leaf is None
        return Thread(conversation=conversation, untitled=untitled, parent=leaf, title=told.title)

    async def name(self, principal: Principal, conversation: str, title: str) -> None:
        """Give a conversation a title that a model found, unless its user has named it."""
        unnamed = {"id": conversation, "principal": principal.id, "titled_by": "first_words"}
        values = {"title": title[:200], "titled_by": "model"}
        await self._database.submit([Write(conversations, "update", values, unnamed)])


def _end_of(tree: Tree, parent: str | None) -> str | None:
    if parent is None or parent == ROOT:
        return None if parent == ROOT else tree.leaf
    return tree.has(parent, field="parent")


def _newest(tree: Tree, leaf: str | None, count: int) -> list[str]:
    """The newest messages of a branch, from a user's on, and the instructions before them."""
    branch = tree.path(leaf)
    if len(branch) <= count:
        return branch
    roles = {id: tree.shape[id]["role"] for id in branch}
    first = next((i for i in range(len(branch) - count, len(branch)) if roles[branch[i]] == "user"), len(branch))
    instructions = [id for id in branch[:first] if roles[id] in ("system", "developer")]
    return [*instructions[-INSTRUCTIONS:], *branch[first:]]


def _thread(tree: Tree, leaf: str | None, newest: int) -> Thread:
    told, ids = tree.conversation, _newest(tree, leaf, newest)
    messages = [message_of(tree.rows[id]) for id in ids]
    return Thread(
        conversation=told.id,
        untitled=told.titled_by == "first_words" and not tree.shape,
        parent=leaf,
        left_out=len(tree.path(leaf)) - len(ids),
        messages=tuple(message for message in messages if says_something(message)),
        title=told.title,
        tags=tuple(told.tags),
    )
