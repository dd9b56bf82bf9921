"""Vendors for the worst bodies: each reads a whole request and answers a word, or very many citations in one event."""

import json
from typing import Any

from aiohttp import web

from bench.hosting import ready

CITATIONS = 40_000

CITING = "citing"
LONGEST = 128 << 20


def vendors() -> web.Application:
    """OpenAI, Anthropic and Google at one address, told apart by the paths of their APIs."""
    app = web.Application(client_max_size=LONGEST)
    app.router.add_get("/health/ready", ready)
    app.router.add_post("/v1/chat/completions", openai)
    app.router.add_post("/v1/messages", anthropic)
    app.router.add_post("/{path:.*}", google)
    return app


async def openai(request: web.Request) -> web.Response:
    chosen: dict[str, Any] = {"content": "ok"}
    if await _cites(request):
        chosen["annotations"] = [
            {"type": "url_citation", "url_citation": {"url": url, "start_index": 0, "end_index": 1}} for url in _urls()
        ]
    return _events(
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": chosen}]},
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        "[DONE]",
    )


async def anthropic(request: web.Request) -> web.Response:
    results = []
    if await _cites(request):
        found = [
            {"type": "web_search_result", "url": url, "title": "", "encrypted_content": "x", "page_age": None}
            for url in _urls()
        ]
        block = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found}
        results = [
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_stop", "index": 0},
        ]
    at = len(results) // 2
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "any", "content": [], "usage": usage}
    return _events(
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        *results,
        {"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": at, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": at},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    )


async def google(request: web.Request) -> web.Response:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}
    if await _cites(request):
        candidate["groundingMetadata"] = {
            "groundingChunks": [{"web": {"uri": url}} for url in _urls()],
            "groundingSupports": [
                {"segment": {"startIndex": 0, "endIndex": 1, "text": "o"}, "groundingChunkIndices": [at]}
                for at in range(CITATIONS)
            ],
        }
    return _events({"candidates": [candidate]})


async def _cites(request: web.Request) -> bool:
    body = await request.read()
    return CITING in request.path or CITING.encode() in body[:200] or CITING.encode() in body[-200:]


def _urls() -> list[str]:
    return [f"http://a.b/{at}" for at in range(CITATIONS)]


def _events(*events: Any) -> web.Response:
    said = [each if isinstance(each, str) else json.dumps(each) for each in events]
    names = [f"event: {each['type']}\n" if isinstance(each, dict) and "type" in each else "" for each in events]
    body = "".join(f"{name}data: {data}\n\n" for name, data in zip(names, said, strict=True))
    return web.Response(body=body.encode(), content_type="text/event-stream")
