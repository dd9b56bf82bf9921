"""Google's Gemini API: generateContent, its stream, embeddings, token counting and models."""

import base64
import json
import warnings
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError, create_model

from tests.emulators.base import Emulator, Event, RecordedRequest, Rejection, texts_in
from tests.emulators.google_content import ContentRendering
from tests.emulators.reply import Condition, Say
from tests.emulators.sound import Sing, spoken
from tests.emulators.validation import Invalid, most_telling

SHOWN_MODELS = ("gemini-3-pro-preview", "gemini-2.5-flash", "gemini-embedding-001")
SPEECH_RATE = 24_000
SPEECH_PIECE = 4_800
VERSIONS = ("/v1beta", "/v1")

# condition -> HTTP code, status, message
ERRORS: Mapping[Condition, tuple[int, str, str]] = {
    "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "context_too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "invalid_key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "permission": (
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity).",
    ),
    "model_not_found": (404, "NOT_FOUND", "models/unknown is not found for API version v1beta."),
    "not_found": (404, "NOT_FOUND", "Requested entity was not found."),
    "too_large": (413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "quota": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing."),
    "server": (500, "INTERNAL", "An internal error has occurred. Please retry."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}
OTHER_STATUSES = {
    401: "UNAUTHENTICATED",
    408: "CANCELLED",
    409: "ABORTED",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GoogleEmulator(Emulator):
    """Gemini on loopback, under /v1beta and /v1; `base_url` is the bare address, as the SDK wants it."""

    newline = "\r\n"
    retry_after_header = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sounds: deque[Sing] = deque()

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        self._authenticate(record)
        version = next((version for version in VERSIONS if record.path.startswith(f"{version}/models")), None)
        if version is None:
            raise self.rejection("not_found")
        model, _, verb = record.path.removeprefix(f"{version}/models").removeprefix("/").partition(":")
        if model:
            self._require_model(model)
        match record.method, verb:
            case "GET", "" if not model:
                return web.json_response({"models": [model_card(name) for name in self.models or SHOWN_MODELS]})
            case "GET", "":
                return web.json_response(model_card(model))
            case "POST", "streamGenerateContent":
                return await self._generate(model, record, request, stream=True)
            case "POST", "generateContent":
                return await self._generate(model, record, request, stream=False)
            case "POST", "countTokens":
                return web.json_response({"totalTokens": len(prompt_of(self._object(record)).split())})
            case "POST", "embedContent":
                return web.json_response({"embedding": embedding(self._object(record))})
            case "POST", "batchEmbedContents":
                self.refuse_as_scripted()
                if self.documents:
                    return web.Response(body=self.documents.popleft(), content_type="application/json")
                asked = self._object(record).get("requests", [])
                return web.json_response({"embeddings": [embedding(one) for one in asked]})
        raise self.rejection("not_found")

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        code, status, text = ERRORS[condition]
        return error(code, status, message or text, error_info(condition))

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        for code, name, text in ERRORS.values():
            if code == status:
                return error(code, name, message or text, [])
        name = OTHER_STATUSES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
        return error(status, name, message or f"The request failed with status {status}.", [])

    def delayed(self, body: Mapping[str, Any], retry_after: float) -> Mapping[str, Any]:
        """Google says when to come back in a RetryInfo detail and in no header."""
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after:g}s"}
        problem = body["error"]
        return {"error": {**problem, "details": [*problem.get("details", ()), info]}}

    def last_user_text(self, body: Any) -> str:
        turns = (turn for turn in reversed(body["contents"]) if turn.get("role", "user") == "user")
        return next((texts_in(turn.get("parts")) for turn in turns), "")

    async def _generate(
        self, model: str, record: RecordedRequest, request: web.Request, *, stream: bool
    ) -> web.StreamResponse:
        body = self._object(record)
        try:
            check_generate_content(record.raw)
        except Invalid as invalid:
            raise self.rejection("bad_request", str(invalid)) from None
        if stream and record.query.get("alt") != "sse":
            # Without alt=sse the vendor streams one JSON array; no client of ours asks for that.
            raise self.rejection("bad_request", "the emulator streams only with alt=sse")

        if (body.get("generationConfig") or {}).get("responseModalities") == ["AUDIO"]:
            return await self._speak(model, body, record, request)

        def render(say: Say) -> ContentRendering:
            return ContentRendering(say, model, next(self.numbers), prompt=prompt_of(body))

        return await self.play(record, request, render, stream=stream)

    async def _speak(
        self, model: str, body: Mapping[str, Any], record: RecordedRequest, request: web.Request
    ) -> web.StreamResponse:
        """Sound as base64 in chunks; samples with the low byte first, whatever RFC 2586 says of L16."""
        self.refuse_as_scripted()
        sing = self.sounds.popleft() if self.sounds else Sing()
        sound = spoken(self.last_user_text(body), SPEECH_RATE)
        pieces = sing.pieces or [sound[at : at + SPEECH_PIECE] for at in range(0, len(sound), SPEECH_PIECE)]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with self._open_stream():
            await response.prepare(request)
            for number, piece in enumerate(pieces):
                if number in sing.holds:
                    await sing.holds[number].wait()
                if sing.cut == number:
                    return self._cut(request, response)
                blob = {"mimeType": f"audio/L16;codec=pcm;rate={SPEECH_RATE}", "data": base64.b64encode(piece).decode()}
                await response.write(self._encode(Event(speech_chunk(model, [{"inlineData": blob}], None))))
            await response.write(self._encode(Event(speech_chunk(model, [], "STOP"))))
            await response.write_eof()
        return response

    def _authenticate(self, record: RecordedRequest) -> None:
        key = record.headers.get("x-goog-api-key") or record.query.get("key") or ""
        if self.require_key and not key:
            raise self.rejection("permission")
        if self.key is not None and key != self.key:
            raise self.rejection("invalid_key")

    def _object(self, record: RecordedRequest) -> Mapping[str, Any]:
        if not isinstance(record.body, dict):
            raise self.rejection("bad_request", "Invalid JSON payload received.")
        return record.body

    def _require_model(self, name: str) -> None:
        if self.models and name not in self.models:
            reason = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
            raise self.rejection("model_not_found", reason)


def speech_chunk(model: str, parts: list[Mapping[str, Any]], finish: str | None) -> Mapping[str, Any]:
    """One chunk of speech, held to the SDK's type."""
    # Imported here for its second, as below.
    from google.genai import types

    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    told = {"candidates": [candidate], "modelVersion": model, "responseId": "response-1"}
    types.GenerateContentResponse.model_validate_json(json.dumps(told))
    return told


def error(code: int, status: str, message: str, details: list[Mapping[str, Any]]) -> Rejection:
    problem = {"code": code, "message": message, "status": status}
    return Rejection(code, {"error": {**problem, "details": details} if details else problem})


def error_info(condition: Condition) -> list[Mapping[str, Any]]:
    """A wrong key is a plain 400; only this detail tells it from a bad request."""
    if condition != "invalid_key":
        return []
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return [{"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]


def prompt_of(body: Mapping[str, Any]) -> str:
    turns = [body.get("systemInstruction") or {}, *body.get("contents", ())]
    return " ".join(texts_in(turn.get("parts")) for turn in turns)


def embedding(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stand-in: the same text gives the same numbers."""
    content = texts_in((asked.get("content") or {}).get("parts"))
    width = asked.get("outputDimensionality") or 4
    return {"values": [((sum(content.encode()) + place) % 97) / 97 for place in range(width)]}


def model_card(name: str) -> Mapping[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def check_generate_content(raw: bytes) -> None:
    """Hold a body to the SDK's types; raises Invalid for the most telling error.

    The vendor takes camelCase and snake_case names alike (proto3 JSON), and the SDK sends some of each.
    """
    try:
        with warnings.catch_warnings():
            # The SDK's enums accept any word and warn; the vendor refuses it.
            warnings.simplefilter("error")
            generate_content_request().model_validate_json(raw, by_alias=True, by_name=True)
    except ValidationError as failure:
        raise most_telling(failure) from None
    except UserWarning as warning:
        raise Invalid("", str(warning)) from None


@cache
def generate_content_request() -> type[BaseModel]:
    """The request body; the SDK has its parts but builds the whole as a plain dict.

    `GenerationConfig` of the SDK lacks `imageConfig`, which the Gemini API takes there.
    """
    # The SDK takes a second to import, so a test that sends no request does not pay for it.
    from google.genai import types

    generation_config = create_model(
        "GenerationConfig", __base__=types.GenerationConfig, image_config=(types.ImageConfig | None, None)
    )
    return create_model(
        "GenerateContentRequest",
        __config__=types.Content.model_config,
        contents=(list[types.Content], Field(min_length=1)),
        system_instruction=(types.Content | None, None),
        generation_config=(generation_config, Field(default=None)),
        tools=(list[types.Tool] | None, None),
        tool_config=(types.ToolConfig | None, None),
        safety_settings=(list[types.SafetySetting] | None, None),
        cached_content=(str | None, None),
        service_tier=(str | None, None),
        store=(bool | None, None),
        labels=(dict[str, str] | None, None),
    )
