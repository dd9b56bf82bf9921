"""OpenAI's API: Chat Completions, Responses, embeddings and models, and its many imitators."""

import asyncio
import base64
import io
import struct
import wave
from collections import deque
from collections.abc import Mapping
from email.parser import BytesParser
from functools import cache
from typing import Any

from aiohttp import web

from tests.emulators.base import Emulator, RecordedRequest, Rejection, texts_in
from tests.emulators.openai_chat import CREATED, ChatRendering
from tests.emulators.openai_responses import ResponsesRendering
from tests.emulators.reply import Condition, Say
from tests.emulators.sound import Sing, spoken
from tests.emulators.validation import Invalid, RequestCheck

SPEECH_RATE = 24_000
SPEECH_PIECE = 4_800
LONGEST_SPEECH = 4_096
SPEECH_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
SHOWN_MODELS = ("gpt-5.2", "gpt-5.2-mini", "text-embedding-3-small")

# condition -> status, type, code, message
ERRORS: Mapping[Condition, tuple[int, str, str | None, str]] = {
    "bad_request": (400, "invalid_request_error", None, "Invalid request."),
    "context_too_long": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 200000 tokens. "
        "Please reduce the length of the messages.",
    ),
    "invalid_key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-***."),
    "permission": (403, "invalid_request_error", None, "You have insufficient permissions for this operation."),
    "model_not_found": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    "not_found": (404, "invalid_request_error", "unknown_url", "Unknown request URL."),
    "too_large": (413, "invalid_request_error", None, "Request body is too large."),
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "server": (500, "server_error", None, "The server had an error while processing your request."),
    "overloaded": (503, "service_unavailable_error", None, "The engine is currently overloaded, please try again."),
}


class OpenAIEmulator(Emulator):
    """OpenAI on loopback; `base_url` ends in /v1.

    `reasoning_field` names the delta field of imitators that stream reasoning in Chat Completions
    ("reasoning_content" at DeepSeek, "reasoning" at OpenRouter). `extra_fields` are request fields of theirs that
    OpenAI does not know; any other unknown field is refused as OpenAI refuses it.
    """

    root_path = "/v1"

    def __init__(
        self, *, reasoning_field: str = "reasoning_content", extra_fields: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.reasoning_field = reasoning_field
        self.extra_fields = extra_fields
        self.sounds: deque[Sing] = deque()
        self.transcripts: deque[str] = deque()

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        self._authenticate(record)
        match record.method, record.path.removeprefix(self.root_path):
            case "POST", "/chat/completions":
                return await self._chat(record, request)
            case "POST", "/responses":
                return await self._responses(record, request)
            case "POST", "/embeddings":
                return self._embeddings(record)
            case "POST", "/audio/transcriptions" | "/audio/translations":
                return self._transcription(record)
            case "POST", "/audio/speech":
                return await self._speech(record, request)
            case "GET", "/models":
                return web.json_response({"object": "list", "data": [model_card(name) for name in self._shown()]})
            case "GET", path if path.startswith("/models/"):
                self._require_model(path.removeprefix("/models/"))
                return web.json_response(model_card(path.removeprefix("/models/")))
        raise self.rejection("not_found", f"Unknown request URL: {record.method} {record.path}.")

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        status, kind, code, text = ERRORS[condition]
        error = {"message": message or text, "type": kind, "param": details.get("param"), "code": code}
        return Rejection(status, {"error": error})

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        for condition, (known, *_) in ERRORS.items():
            if known == status:
                return self.rejection(condition, message)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        text = message or f"The request failed with status {status}."
        return Rejection(status, {"error": {"message": text, "type": kind, "param": None, "code": None}})

    def last_user_text(self, body: Any) -> str:
        turns = body.get("messages", body.get("input"))
        if isinstance(turns, str):
            return turns
        return next((texts_in(turn.get("content")) for turn in reversed(turns) if turn.get("role") == "user"), "")

    async def _chat(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        body = self._checked(chat_check(self.extra_fields), record)
        self._require_answered_tools(body["messages"])
        prompt = " ".join(texts_in(message.get("content")) for message in body["messages"])

        def render(say: Say) -> ChatRendering:
            return ChatRendering(say, body, next(self.numbers), prompt=prompt, reasoning_field=self.reasoning_field)

        return await self.play(record, request, render, stream=bool(body.get("stream")))

    async def _responses(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        body = self._checked(responses_check(self.extra_fields), record)

        def render(say: Say) -> ResponsesRendering:
            return ResponsesRendering(say, body, next(self.numbers), prompt=self.last_user_text(body))

        return await self.play(record, request, render, stream=bool(body.get("stream")))

    def _embeddings(self, record: RecordedRequest) -> web.Response:
        body = self._checked(embedding_check(), record)
        self.refuse_as_scripted()
        if self.documents:
            return web.Response(body=self.documents.popleft(), content_type="application/json")
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        width = body.get("dimensions") or 4
        encode = in_base64 if body.get("encoding_format") == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector(str(text), width))}
            for index, text in enumerate(texts)
        ]
        tokens = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _speech(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        body = self._checked(speech_check(), record)
        if len(body["input"]) > LONGEST_SPEECH:
            raise self.rejection("bad_request", f"String too long: at most {LONGEST_SPEECH} characters.", param="input")
        if isinstance(body["voice"], str) and body["voice"] not in SPEECH_VOICES:
            raise self.rejection("bad_request", f"Invalid value: '{body['voice']}'.", param="voice")
        self.refuse_as_scripted()
        sing = self.sounds.popleft() if self.sounds else Sing()
        pieces = sing.pieces
        if not pieces:
            sound = spoken(body["input"], SPEECH_RATE) + (b"\x00" if sing.odd else b"")
            pieces = [sound[at : at + SPEECH_PIECE] for at in range(0, len(sound), SPEECH_PIECE)]
        response = web.StreamResponse(headers={"content-type": "audio/pcm"})
        with self._open_stream():
            await response.prepare(request)
            for number, piece in enumerate(pieces):
                if number in sing.holds:
                    await sing.holds[number].wait()
                if sing.cut == number:
                    return self._cut(request, response)
                await response.write(piece)
                # A client on this loop reads it before the next one comes.
                await asyncio.sleep(0)
            await response.write_eof()
        return response

    def _transcription(self, record: RecordedRequest) -> web.Response:
        fields, sound = form_of(record)
        if "model" not in fields:
            raise self.rejection("bad_request", "you must provide a model parameter", param="model")
        self.refuse_as_scripted()
        try:
            with wave.open(io.BytesIO(sound)) as file:
                seconds = file.getnframes() / file.getframerate()
        except (wave.Error, EOFError):
            raise self.rejection("bad_request", "Invalid file format.", param="file") from None
        timed = fields.get("response_format") == "verbose_json"
        if timed and fields["model"] != "whisper-1":
            reason = "response_format 'verbose_json' is not compatible with this model."
            raise self.rejection("bad_request", reason, param="response_format")
        text = self.transcripts.popleft() if self.transcripts else "Hello there."
        if not timed:
            return web.json_response({"text": text, "usage": {"type": "duration", "seconds": round(seconds)}})
        words = text.split()
        step = seconds / max(1, len(words))
        timings = [
            {"word": word.strip(".,?!"), "start": at * step, "end": (at + 1) * step} for at, word in enumerate(words)
        ]
        segment = {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": seconds,
            "text": f" {text}",
            "tokens": [],
            "temperature": 0.0,
        }
        segment |= {"avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01}
        told = {"task": "transcribe", "language": "english", "duration": seconds, "text": text}
        return web.json_response({**told, "segments": [segment], "words": timings})

    def _authenticate(self, record: RecordedRequest) -> None:
        if not self.require_key:
            return
        scheme, _, key = record.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise self.rejection("invalid_key", "You didn't provide an API key.")
        if self.key is not None and key != self.key:
            raise self.rejection("invalid_key")

    def _checked(self, check: RequestCheck, record: RecordedRequest) -> Mapping[str, Any]:
        try:
            check(record.body)
        except Invalid as invalid:
            raise self.rejection("bad_request", str(invalid), param=invalid.param or None) from None
        body: Mapping[str, Any] = record.body
        if "model" not in body:
            raise self.rejection("bad_request", "you must provide a model parameter", param="model")
        self._require_model(body["model"])
        return body

    def _require_model(self, name: str) -> None:
        if self.models and name not in self.models:
            raise self.rejection("model_not_found", f"The model `{name}` does not exist.", param="model")

    def _require_answered_tools(self, messages: list[Mapping[str, Any]]) -> None:
        """A tool message answers a call of the assistant message before it, and every call is answered."""
        waiting: set[str] = set()
        for number, message in enumerate(messages):
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    reason = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                    raise self.rejection("bad_request", reason, param=f"messages.[{number}].role")
                waiting.remove(message["tool_call_id"])
                continue
            if waiting:
                break
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
        if waiting:
            missing = ", ".join(sorted(waiting))
            reason = f"An assistant message with 'tool_calls' must be followed by tool messages. Missing: {missing}"
            raise self.rejection("bad_request", reason, param="messages")

    def _shown(self) -> tuple[str, ...]:
        return self.models or SHOWN_MODELS


def model_card(name: str) -> Mapping[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}


def vector(text: str, width: int) -> list[float]:
    """A stand-in for an embedding: the same text gives the same numbers."""
    return [((sum(text.encode()) + place) % 97) / 97 for place in range(width)]


def in_base64(numbers: list[float]) -> str:
    """Little-endian 32-bit floats, which is what the SDK asks for when the caller names no format."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


# The SDK takes a second to import, so a test that sends no request does not pay for it.


@cache
def chat_check(extra_fields: tuple[str, ...]) -> RequestCheck:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    return RequestCheck(CompletionCreateParamsNonStreaming, extra_fields)


@cache
def responses_check(extra_fields: tuple[str, ...]) -> RequestCheck:
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

    return RequestCheck(ResponseCreateParamsNonStreaming, extra_fields)


def form_of(record: RecordedRequest) -> tuple[dict[str, str], bytes]:
    """The fields of a form, and the bytes of its file."""
    head = f"Content-Type: {record.headers['content-type']}\r\n\r\n".encode()
    fields, sound = {}, b""
    for part in BytesParser().parsebytes(head + record.raw).walk():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(data, bytes):
            if part.get_filename() is not None:
                sound = data
            else:
                fields[name] = data.decode()
    return fields, sound


@cache
def speech_check() -> RequestCheck:
    # Imported on first use: the SDK's types take their time.
    from openai.types.audio.speech_create_params import SpeechCreateParams

    return RequestCheck(SpeechCreateParams)


@cache
def embedding_check() -> RequestCheck:
    from openai.types.embedding_create_params import EmbeddingCreateParams

    return RequestCheck(EmbeddingCreateParams)
