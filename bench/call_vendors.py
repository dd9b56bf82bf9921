"""The vendors of calls, who answer at once: a realtime model that says back what it hears, a transcriber, a model, a voice.

python -m bench.call_vendors --port 9110

GET /v1/realtime speaks OpenAI's Realtime events: each piece of audio comes back as sound, with the time at which it came in its
second eight bytes. GET /v1/listen is Deepgram's live socket, POST /v1/chat/completions and /v1/audio/speech are OpenAI's.
"""

import argparse
import binascii
from typing import Any

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from bench.hosting import host, ready
from bench.process import raise_file_limit
from bench.traffic import monotonic_us

ANSWER = "The boat is green. It lies there."
RATE = 24_000
SPEECH = bytes(RATE * 2 * 6 // 10)
"""0.6 s of sound for each sentence."""

LONG_SPEECH = bytes(RATE * 2 * 8)
"""What the voice `ash` speaks: long enough to be interrupted."""

SSE = {"Content-Type": "text/event-stream"}
STARTED = (
    {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
    {"type": "response.output_item.added", "item": {"id": "i", "type": "message"}},
)
DELTA = b'{"type":"response.output_audio.delta","event_id":"e","response_id":"r","item_id":"i","output_index":0,'
DELTA += b'"content_index":0,"delta":"%b"}'


class Append(msgspec.Struct):
    """The fields of a client's event that are looked at."""

    type: str
    audio: str = ""


async def realtime(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    await socket.send_json({"type": "session.created", "event_id": "e", "session": {"type": "realtime"}})
    decode, answering = msgspec.json.Decoder(Append).decode, False
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        event = decode(message.data)
        if event.type == "session.update":
            await socket.send_json({"type": "session.updated", "event_id": "e", "session": {"type": "realtime"}})
        elif event.type == "input_audio_buffer.append":
            now = monotonic_us().to_bytes(8, "little")
            if not answering:
                answering = True
                for started in STARTED:
                    await socket.send_json({"event_id": "e", **started})
            pcm = binascii.a2b_base64(event.audio)
            told = binascii.b2a_base64(pcm[:8] + now + pcm[16:], newline=False)
            await socket.send_frame(DELTA % told, WSMsgType.TEXT)
    return socket


async def listen(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    heard = 0
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            heard += len(message.data)
        elif message.type is WSMsgType.TEXT and "CloseStream" in message.data:
            alternative = {"transcript": "How are you today?", "confidence": 0.9, "words": []}
            told: dict[str, Any] = {"type": "Results", "is_final": True, "start": 0.0, "channel_index": [0, 1]}
            told |= {"duration": heard / 2 / 16_000, "channel": {"alternatives": [alternative]}}
            await socket.send_json(told)
            break
    await socket.close()
    return socket


async def chat(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse(headers=SSE)
    await response.prepare(request)
    for delta, reason in (({"role": "assistant", "content": ANSWER}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]}
        await response.write(b"data: %b\n\n" % msgspec.json.encode(chunk))
    await response.write(b"data: [DONE]\n\n")
    return response


async def speech(request: web.Request) -> web.Response:
    asked = await request.json()
    return web.Response(body=LONG_SPEECH if asked["voice"] == "ash" else SPEECH, content_type="audio/pcm")


async def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/v1/realtime", realtime)
    app.router.add_get("/v1/listen", listen)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/audio/speech", speech)
    app.router.add_get("/ready", ready)
    await host(app, port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9110)
    raise_file_limit()
    uvloop.run(main(parser.parse_args().port))
