"""How each server under test is spoken to over its WebSocket, and how its answers end."""

from typing import Protocol

import msgspec

from bench.traffic import Traffic

MODEL = "openai/gpt-4o"


class AnswerError(Exception):
    """The server said that it will not, or could not, bring the answer; the text is its reason."""


class Dialect(Protocol):
    """`greets`: whether the server speaks first, and a client must wait for it."""

    greets: bool

    def ask(self, traffic: Traffic) -> bytes:
        """The frame that starts an answer; it ends with its last watcher's leaving."""

    def ended(self, frame: bytes) -> bool:
        """Whether a frame without a stamp is the answer's end; AnswerError if it is a refusal or a failure."""


def chat_completion(traffic: Traffic, *, stream: bool, model: str = MODEL) -> bytes:
    messages = [{"role": "user", "content": traffic.prompt}]
    return msgspec.json.encode({"model": model, "messages": messages, "stream": stream})


class FloorDialect:
    """A frame up is a chat completion request; frames down are its SSE data lines."""

    greets = False

    def ask(self, traffic: Traffic) -> bytes:
        return chat_completion(traffic, stream=True)

    def ended(self, frame: bytes) -> bool:
        if b'"error"' in frame:
            raise AnswerError(frame[:200].decode(errors="replace"))
        return frame == b"[DONE]"


class EngineError(msgspec.Struct):
    code: str = "unknown"
    message: str = ""


class EngineFrame(msgspec.Struct):
    """The fields by which an engine's frame ends or refuses an answer."""

    type: str
    status: str | None = None
    error: EngineError | None = None


class EngineDialect:
    """The engine's own protocol: `chat.send` up; `accepted`, deltas and `stream.ended` down."""

    greets = True

    def ask(self, traffic: Traffic) -> bytes:
        command = {"type": "chat.send", "id": "b", "model": MODEL, "input": traffic.prompt, "on_disconnect": "cancel"}
        return msgspec.json.encode(command)

    def ended(self, frame: bytes) -> bool:
        read = msgspec.json.decode(frame, type=EngineFrame)
        ended = read.type == "stream.ended"
        if read.type in ("rejected", "stream.detached") or (ended and read.status != "completed"):
            error = read.error or EngineError()
            raise AnswerError(f"{read.type} {read.status or ''} {error.code}: {error.message}")
        return ended


DIALECTS: dict[str, Dialect] = {"floor": FloorDialect(), "engine": EngineDialect()}
