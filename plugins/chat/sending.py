"""`chat.send`: checks what was sent, takes the conversation, and makes a turn of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from engine.api.chat import ChatRequest, FunctionTool, WebSearch
from engine.api.commands import Closing, Lost, Request, Serve
from engine.api.errors import ContextTooLong, InvalidRequest, ToolCallNotFound
from engine.api.events import MessageSaved
from engine.api.identity import Principal
from engine.api.plugin import PluginContext
from engine.api.streams import Ending, Writer
from engine.api.tools import Tool
from engine.wire.apart import apart_if, is_long
from engine.wire.bounds import first_repeated
from plugins.chat.bodies import ChatSend, FunctionToolInput, ToolResultSend
from plugins.chat.history.claims import Claims, Here
from plugins.chat.history.store import History
from plugins.chat.history.thread import Thread
from plugins.chat.history.turns import Opened
from plugins.chat.inputs import chat_request, is_long_input, read_input
from plugins.chat.settings import ChatSettings
from plugins.chat.tools import ToolRun, offer
from plugins.chat.turn import ChatTurn
from plugins.chat.voice import TurnVoice
from plugins.chat.waiting import WaitingCalls


class Sending:
    """Prepares turns, and takes their conversations."""

    def __init__(self, context: PluginContext, settings: ChatSettings, history: History) -> None:
        self._context = context
        self._settings = settings
        self._history = history
        self._waiting: dict[str, _Waits] = {}

    async def prepare(self, request: Request[ChatSend]) -> Serve:
        """A turn that is ready to run, or the reason why there is none."""
        body, principal = request.body, request.principal
        # What refuses at little cost comes first.
        chain = self._context.providers.chat(body.model)
        messages = await apart_if(is_long_input(body), partial(read_input, body))
        tools = self._tools(body, principal) if body.server_tools or chain.targets[0].can("tools") else {}
        plan = chat_request(body, messages, offer(list(tools.values())))
        await apart_if(is_long(plan), partial(chain.check, plan))
        _check_names(plan.tools)
        waiting = WaitingCalls()
        make = partial(
            ChatTurn,
            chain,
            tools=ToolRun(tools, waiting, self._settings.tool_timeout, _client_tools(body)),
            asked=len(messages),
            wait_for_client=body.client_tools != "return",
            max_steps=self._settings.max_steps,
            trim=self._settings.context == "trim",
            tell_reasoning=not body.store,
            voice=TurnVoice(self._context.providers, body.speak) if body.speak is not None else None,
        )
        model = body.model or chain.targets[0].name
        waits = self._expect(request, waiting)
        if body.store and body.n == 1:
            return await self._stored(request, plan, model, waits, make)
        if body.conversation is not None or body.parent is not None:
            # Nothing is kept, so the conversation is not taken: any number may look back at one at the same time.
            thread = await self._history.thread(principal, body.conversation, body.parent)
            turn = make(self._after(thread, plan), left_out=thread.left_out)
        else:
            turn = make(plan)
        return Serve(serve=waits.serving(turn), model=model, keep=body.store)

    async def _stored(
        self,
        request: Request[ChatSend],
        plan: ChatRequest,
        model: str,
        waits: _Waits,
        make: Callable[..., ChatTurn],
    ) -> Serve:
        body, principal = request.body, request.principal
        hold = _Hold(self._history.claims, principal, request.stream)
        try:
            if body.conversation is not None:
                await hold.take(body.conversation)
            thread = await self._history.thread(principal, body.conversation, body.parent)
            turn = make(self._after(thread, plan), left_out=thread.left_out)
            opening = partial(
                self._history.opening,
                thread,
                principal,
                plan.messages,
                model=model,
                stream=request.stream,
                metadata=body.metadata,
            )
            opened = await apart_if(is_long(plan), opening)
        except BaseException:
            hold.release()
            raise
        await hold.begin(opened.conversation)
        return Serve(
            serve=waits.serving(turn),
            rows=opened.rows,
            closing=lambda ending: self._closing(opened, ending, turn, hold),
            released=hold.release,
            model=model,
            detail=opened.detail,
        )

    def _after(self, thread: Thread, plan: ChatRequest) -> ChatRequest:
        if thread.left_out and self._settings.context != "trim":
            raise ContextTooLong(
                f"the conversation has {thread.left_out} messages more than a turn reads; fork it, or begin another",
                field="conversation",
            )
        return msgspec.structs.replace(plan, messages=thread.followed_by(plan.messages))

    def _closing(self, opened: Opened, ending: Ending, turn: ChatTurn, hold: _Hold) -> Closing:
        steps = [message for step in turn.steps[:-1] for message in step.messages()]
        last = turn.steps[-1] if turn.steps else None
        if last is not None and last.results:
            steps += last.messages()
        rows = self._history.closing(opened, ending, steps=steps, reasoning=tuple(last.reasoning) if last else ())
        hold.closed = True
        saved = MessageSaved(conversation=opened.conversation, message=opened.answer)
        return Closing(rows=rows, event=saved, over=partial(self._history.over, opened, ending, rows))

    def recover(self, lost: Lost) -> Closing:
        """What closes a turn whose process died."""
        conversation, answer = lost.detail.get("conversation"), lost.detail.get("answer")
        if conversation is None or answer is None:
            return Closing()
        return Closing(self._history.recovered(lost), MessageSaved(conversation=conversation, message=answer))

    async def tool_result(self, request: Request[ToolResultSend]) -> Mapping[str, Any]:
        """Take the client's answer to a call of a running turn."""
        body = request.body
        waits = self._waiting.get(body.stream)
        if waits is None or waits.principal != request.principal.id:
            raise ToolCallNotFound("no turn that waits for tool results runs on this stream", field="stream")
        waits.calls.answer(body.call_id, body.output, body.error)
        return {"stream": body.stream}

    def _expect(self, request: Request[ChatSend], calls: WaitingCalls) -> _Waits:
        return _Waits(request.principal.id, request.stream, calls, self._waiting)

    def _tools(self, body: ChatSend, principal: Principal) -> dict[str, Tool]:
        """The server's tools that this turn may use, by name."""
        if not self._settings.server_tools:
            return {}
        offered = {tool.name: tool for tool in self._context.tools.offered(principal)}
        if body.server_tools is None:
            return offered
        for name in body.server_tools:
            if name not in offered:
                known = ", ".join(sorted(offered)) or "none"
                raise InvalidRequest(f"this server has no tool {name[:80]!r}; it has: {known}", field="server_tools")
        return {name: offered[name] for name in body.server_tools}


class _Hold:
    """A turn's hold on its conversation, from before it reads the history until its end is written."""

    def __init__(self, claims: Claims, principal: Principal, stream: str) -> None:
        self._claims = claims
        self._principal = principal
        self._stream = stream
        self._here = Here()
        self._conversation: str | None = None
        self._everywhere = False
        self.closed = False
        """True once the rows of the turn's end, which let the conversation go, are made."""

    async def take(self, conversation: str) -> None:
        """Take a conversation that is there; raises `Conflict` while another turn runs in it."""
        await self.begin(conversation)
        self._everywhere = True
        await self._claims.take(self._principal, conversation, self._stream)

    async def begin(self, conversation: str) -> None:
        """Take a conversation in this process: for one that the turn begins, its rows do the rest."""
        if self._conversation is None:
            here = await self._claims.here()
            here.take(self._principal, conversation, self._stream)
            self._conversation, self._here = conversation, here

    def release(self) -> None:
        if self._conversation is not None:
            self._here.leave(self._principal, self._conversation, self._stream)
            if self._everywhere and not self.closed:
                self._claims.leave(self._conversation, self._stream)


@dataclass(frozen=True, slots=True)
class _Waits:
    """A turn that can be sent tool results for as long as it runs."""

    principal: str
    stream: str
    calls: WaitingCalls
    running: dict[str, _Waits]

    def serving(self, turn: ChatTurn) -> Callable[[Writer], Awaitable[None]]:
        async def serve(stream: Writer) -> None:
            self.running[self.stream] = self
            try:
                await turn.serve(stream)
            finally:
                del self.running[self.stream]

        return serve


def _client_tools(body: ChatSend) -> list[str]:
    return [tool.name for tool in body.tools if isinstance(tool, FunctionToolInput)]


def _check_names(tools: Sequence[FunctionTool | WebSearch]) -> None:
    names = [tool.name for tool in tools if isinstance(tool, FunctionTool)]
    if (twice := first_repeated(names)) is not None:
        raise InvalidRequest(f"two tools are called {twice!r}; each needs a name of its own", field="tools")
