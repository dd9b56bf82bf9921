"""`realtime.start` and what is said beside the audio of a call: over the socket, and in process for the other doors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
import structlog

from engine.api import (
    Body,
    Call,
    Command,
    EngineError,
    FunctionTool,
    InvalidRequest,
    ObjectStore,
    PluginContext,
    Principal,
    RealtimeAnswer,
    RealtimeClear,
    RealtimeCommit,
    RealtimeForget,
    RealtimeInput,
    RealtimePast,
    RealtimeRequest,
    RealtimeText,
    RealtimeToolResult,
    Request,
    Serve,
    StatusChanged,
    StreamNotFound,
    Tool,
    TurnDetection,
    UnsupportedParameter,
)
from engine.wire.bounds import first_repeated
from plugins.realtime.bodies import (
    CallTool,
    OfCall,
    RealtimeAnswerCall,
    RealtimeForgetCall,
    RealtimePlayedCall,
    RealtimeStart,
    RealtimeTextCall,
    RealtimeToolResultCall,
    RealtimeUpdateCall,
    RealtimeUpdateFields,
)
from plugins.realtime.call import RealtimeCall
from plugins.realtime.recording import Recorder
from plugins.realtime.settings import RealtimeSettings
from plugins.realtime.sound import codec
from plugins.realtime.tools import as_text
from plugins.vendors.codecs import load_resampling
from plugins.vendors.speaking import voice_replaced

log = structlog.get_logger(__name__)

PAST = 100
"""Messages of a conversation that a vendor's model is told of."""

_CASCADE_ONLY = ("chat_model", "transcription_model", "transcription_prompt", "speech_model", "listen_only")


class Handlers:
    """The commands, and the calls that run."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._settings = context.settings(RealtimeSettings)
        self._calls: dict[tuple[str, str], RealtimeCall] = {}

    def commands(self) -> Iterable[Command[Any] | Call[Any]]:
        """The commands of this file."""
        return [
            Command(
                name="realtime.start",
                body=RealtimeStart,
                prepare=self.start,
                summary="Begin a call: binary frames both ways, turns, and words as events.",
                example={"type": "realtime.start", "id": "r1", "model": "local", "sample_rate": 24000},
            ),
            self._call("update", RealtimeUpdateCall, self.update, "Go on in another way.", instructions="Be brief."),
            self._call("commit", OfCall, self.commit, "Say that the person has finished."),
            self._call("clear", OfCall, self.clear, "Forget what was spoken and is no finished turn yet."),
            self._call("text", RealtimeTextCall, self.text, "Say something in writing.", text="Hello."),
            self._call("forget", RealtimeForgetCall, self.forget, "Have something that was said forgotten.", turn=1),
            self._call("answer", RealtimeAnswerCall, self.answer, "Have what was said answered now."),
            self._call("interrupt", OfCall, self.interrupt, "Stop the answer."),
            self._call("played", RealtimePlayedCall, self.played, "Tell how far the sound was played.", at=1200),
            self._call(
                "tool_result",
                RealtimeToolResultCall,
                self.tool_result,
                "Answer a call of one of the client's tools.",
                call_id="call_1",
                output="4 °C",
            ),
            self._call("finish", OfCall, self.finish, "Hang up."),
        ]

    @staticmethod
    def _call(name: str, body: type[Body], handle: Any, summary: str, **fields: Any) -> Call[Any]:
        example = {"type": f"realtime.{name}", "id": "r2", "stream": "s_…", **fields}
        return Call(name=f"realtime.{name}", body=body, handle=handle, summary=summary, example=example)

    async def start(self, request: Request[RealtimeStart]) -> Serve:
        body = request.body
        model = self._context.providers.realtime(body.model)
        driven = not getattr(model.target.provider, "answers_by_itself", True)
        options = {name: value for name in _CASCADE_ONLY if (value := getattr(body, name)) not in (None, False)}
        if options and not driven:
            raise InvalidRequest(
                f"{next(iter(options))} is for calls with a cascade, and {model.target.name} hears and speaks itself",
                field=next(iter(options)),
            )
        past = await self._past(request.principal, body.conversation, 1 if driven else PAST)
        tools = {} if driven else self._server_tools(request.principal, body.tools or [])
        asked = RealtimeRequest(
            model=model.target.model,
            language=body.language,
            tools=tuple(_offered(tool) for tool in tools.values()),
            past=() if driven else past,
            conversation=body.conversation,
            store=body.store,
            translate_to=body.translate_to,
            options=options,
            provider_options=body.provider_options,
        )
        asked = msgspec.structs.replace(asked, **_changes(body, asked))
        if body.listen_only:
            asked = msgspec.structs.replace(asked, modalities=frozenset({"text"}))
        model.check(asked)
        await load_resampling()
        call = RealtimeCall(
            model,
            asked,
            self._settings,
            self._context.commands,
            tools,
            rate=body.sample_rate,
            codec=codec(body.encoding),
            recorder=Recorder(self._store() if body.store else None, body.sample_rate),
            first=_notes(body, model.target.name),
        )
        slot = request.principal.id, request.stream
        self._calls[slot] = call
        return Serve(
            serve=call.serve,
            take=call.take,
            model=body.model or model.target.name,
            keep=False,
            released=partial(self._close, slot),
        )

    async def update(self, request: Request[RealtimeUpdateCall]) -> None:
        call = self._find(request.principal, request.body.stream)
        call.change(*_notes(request.body, call.model), **_changes(request.body, call.request))

    async def commit(self, request: Request[OfCall]) -> None:
        self._tell(request, RealtimeCommit())

    async def clear(self, request: Request[OfCall]) -> None:
        self._tell(request, RealtimeClear())

    async def text(self, request: Request[RealtimeTextCall]) -> None:
        self._tell(request, RealtimeText(request.body.text, request.body.role, request.body.item))

    async def forget(self, request: Request[RealtimeForgetCall]) -> None:
        body = request.body
        if not self._find(request.principal, body.stream).forgets:
            raise UnsupportedParameter(
                "only a cascade that keeps nothing (store: false) can forget what was said", field="stream"
            )
        if [body.item, body.turn, body.answer].count(None) != 2:
            raise InvalidRequest("say what is to be forgotten: item, turn or answer, one of them", field="turn")
        self._tell(request, RealtimeForget(body.item, body.turn, body.answer))

    async def answer(self, request: Request[RealtimeAnswerCall]) -> None:
        if self._find(request.principal, request.body.stream).listens_only:
            raise InvalidRequest("this call only listens, and answers nothing", field="stream")
        self._tell(request, RealtimeAnswer(request.body.instructions))

    async def interrupt(self, request: Request[OfCall]) -> None:
        self._find(request.principal, request.body.stream).interrupt()

    async def played(self, request: Request[RealtimePlayedCall]) -> None:
        self._find(request.principal, request.body.stream).played(request.body.at)

    async def tool_result(self, request: Request[RealtimeToolResultCall]) -> None:
        body = request.body
        call = self._find(request.principal, body.stream)
        call.tool_answered(RealtimeToolResult(body.call_id, as_text(body.output), body.error))

    async def finish(self, request: Request[OfCall]) -> Mapping[str, Any]:
        return {"n": self._find(request.principal, request.body.stream).finish()}

    def _store(self) -> ObjectStore | None:
        """Where the sound of calls is kept, if it is to be."""
        if not self._settings.keep_audio:
            return None
        try:
            return self._context.providers.objects()
        except EngineError as error:
            log.warning("call_audio_not_kept", reason=error.message)
            return None

    def _tell(self, request: Request[Any], item: RealtimeInput) -> None:
        self._find(request.principal, request.body.stream).tell(item)

    def _find(self, principal: Principal, stream: str) -> RealtimeCall:
        call = self._calls.get((principal.id, stream))
        if call is None:
            raise StreamNotFound(f"there is no call {stream!r} that runs", field="stream")
        return call

    def _close(self, slot: tuple[str, str]) -> None:
        self._calls.pop(slot, None)

    def _server_tools(self, principal: Principal, mine: list[CallTool]) -> dict[str, Tool]:
        """The server's tools, for a vendor who knows only what it is told; the client's own of a name comes first."""
        taken = {tool.name for tool in mine}
        return {tool.name: tool for tool in self._context.tools.offered(principal) if tool.name not in taken}

    async def _past(self, principal: Principal, conversation: str | None, most: int) -> tuple[RealtimePast, ...]:
        """The last messages of a conversation; raises what keeps the call from going on with it."""
        if conversation is None:
            return ()
        body = {"conversation": conversation, "limit": most}
        told = await self._context.commands.call(principal, "chat.past", body)
        return msgspec.convert(told["messages"], tuple[RealtimePast, ...])


def _offered(tool: Tool) -> FunctionTool:
    return FunctionTool(name=tool.name, description=tool.description, parameters=tool.parameters.model_json_schema())


def _notes(body: RealtimeUpdateFields, model: str) -> tuple[StatusChanged, ...]:
    return () if body.voice_instead_of is None else (voice_replaced(model, body.voice_instead_of),)


def _changes(body: RealtimeUpdateFields, now: RealtimeRequest) -> dict[str, Any]:
    """What a body says of how a call goes on; what it leaves out stays."""
    changes: dict[str, Any] = {}
    if body.voice is not None:
        changes["voice"] = None if body.voice == "default" else body.voice
    if body.instructions is not None:
        changes["instructions"] = body.instructions
    if body.turn_detection is not None:
        changes["turn_detection"] = TurnDetection(**body.turn_detection.model_dump())
    if body.modalities is not None:
        if not body.modalities:
            raise InvalidRequest("modalities names audio, text, or both", field="modalities")
        changes["modalities"] = frozenset(body.modalities)
    if body.max_output_tokens is not None:
        changes["max_output_tokens"] = None if body.max_output_tokens == "inf" else body.max_output_tokens
    if body.tools is not None:
        names = [tool.name for tool in body.tools]
        if (twice := first_repeated(names)) is not None:
            raise InvalidRequest(f"two tools are called {twice!r}; each needs a name of its own", field="tools")
        mine = tuple(
            FunctionTool(name=tool.name, description=tool.description, parameters=tool.parameters)
            for tool in body.tools
        )
        changes["tools"] = (*mine, *(tool for tool in now.tools if tool.name not in names))
    return changes
