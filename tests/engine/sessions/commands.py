"""Commands whose turns do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from engine.api.commands import Body, Call, Closing, Command, Lost, Request, Serve
from engine.api.data import Write
from engine.api.streams import Ending, Writer

Work = Callable[[Writer], Awaitable[None]]


class Send(Body):
    """Body of the scripted command."""

    input: str = ""


class Echo(Body):
    """Body of the command that is answered at once."""

    text: str
    stream: str = ""


class Script:
    """What the turns of a command do, and what became of them.

    Turns say their input and end, or do `work`; `prepared` may hold up or refuse a start.
    """

    def __init__(self, work: Work | None = None) -> None:
        self.work = work
        self.prepared: Callable[[], Awaitable[None]] | None = None
        self.closing: Callable[[Ending], Closing] | None = None
        self.rows: Sequence[Write] = ()
        self.keep = True
        self.detail: Mapping[str, Any] = {}
        self.runs = 0
        self.prepares = 0
        self.released = 0
        self.endings: list[Ending] = []
        self.running = asyncio.Event()

    async def prepare(self, request: Request[Send]) -> Serve:
        self.prepares += 1
        if self.prepared is not None:
            await self.prepared()
        return Serve(
            serve=self._serve(request.body.input),
            rows=self.rows,
            closing=self._close,
            released=self._release,
            model="test-model",
            keep=self.keep,
            detail=self.detail,
        )

    def _serve(self, text: str) -> Work:
        async def serve(stream: Writer) -> None:
            self.runs += 1
            self.running.set()
            if self.work is not None:
                await self.work(stream)
            else:
                stream.text(text)

        return serve

    def _close(self, ending: Ending) -> Closing:
        self.endings.append(ending)
        return self.closing(ending) if self.closing is not None else Closing()

    def _release(self) -> None:
        self.released += 1


async def forever(stream: Writer) -> None:
    """Say a word and then work until the cancel."""
    stream.text("Hel")
    await asyncio.Event().wait()


class Dictated:
    """Work that says what the test puts in, until `over`."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.stream: Writer | None = None
        self.begun = asyncio.Event()

    async def __call__(self, stream: Writer) -> None:
        self.stream = stream
        self.begun.set()
        await self.over.wait()

    def say(self, *pieces: str) -> None:
        assert self.stream is not None
        for piece in pieces:
            self.stream.text(piece)


def command(script: Script, name: str = "chat.send", recover: Callable[[Lost], Closing] | None = None) -> Command[Send]:
    return Command(name=name, body=Send, prepare=script.prepare, recover=recover)


def echo() -> Call[Echo]:
    async def handle(request: Request[Echo]) -> Mapping[str, Any] | None:
        if request.body.text == "crash":
            raise RuntimeError("the password is hunter2")
        return {"text": request.body.text}

    return Call(name="tool.echo", body=Echo, handle=handle)
