"""The benchmark's own tools: an upstream that clients of OpenAI can read, a load generator that nothing escapes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from bench.compiled import compiled_upstream
from bench.floor import build_floor
from bench.framing import TEXT, HttpAnswer, WsFrames
from bench.load import Load, Report, client_for, drive, target_for
from bench.process import Server, cores, free_port
from bench.report import Row, cells_of, markdown, ratio_to_floor
from bench.sockets import open_streams, until_closed
from bench.traffic import STAMP, Traffic, find_traffic, monotonic_us
from bench.upstream import http_chunk, start_upstream

SHORT = Traffic(3, 1)


@pytest.fixture(params=["python", "c"])
async def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """The port of a running upstream, of either make."""
    port = free_port()
    if request.param == "python":
        async with await start_upstream(port):
            yield port
        return
    if not (program := compiled_upstream(tmp_path)):
        pytest.skip("no C compiler")
    argv = (str(program), str(port))
    with Server(argv, port=port, core=cores()[1], log=tmp_path / "log", ready="/stats") as server:
        await asyncio.to_thread(server.wait_ready, 10)
        yield port


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def load_on(port: int, mode: str, dialect: str = "floor", traffic: Traffic = SHORT) -> Report:
    """Two clients for a moment."""
    target = target_for(mode, dialect, port, "bench", traffic)
    load = Load(mode, traffic, clients=2, seconds=0.3, warmup=0.05, pid=0)
    return await drive(load, lambda tally, start_at: client_for(mode, dialect, target, tally, start_at), port)


def completion_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/chat/completions"


def ask(traffic: Traffic, *, stream: bool) -> dict[str, object]:
    options = {"stream_options": {"include_usage": True}} if stream else {}
    messages = [{"role": "user", "content": traffic.prompt}]
    return {"model": "gpt-4o", "messages": messages, "stream": stream, **options}


async def test_upstream_streams_events_that_the_openai_sdk_models_accept(
    upstream: int, client: aiohttp.ClientSession
) -> None:
    async with client.post(completion_url(upstream), json=ask(Traffic(5, 0, 7, 2), stream=True)) as response:
        events = (await response.text()).split("\n\n")

    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [ChatCompletionChunk.model_validate_json(event.removeprefix("data: ")) for event in events[:-2]]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(STAMP.findall(text.encode())) == 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_upstream_stamps_each_chunk_with_the_time_of_its_write(
    upstream: int, client: aiohttp.ClientSession
) -> None:
    before = monotonic_us()
    async with client.post(completion_url(upstream), json=ask(Traffic(3, 5), stream=True)) as response:
        stamps = [int(stamp) for stamp in STAMP.findall(await response.read())]

    assert before <= stamps[0] < stamps[1] < stamps[2] <= monotonic_us()
    assert stamps[2] - stamps[0] >= 9_000


async def test_upstream_answers_whole_json_when_no_stream_is_asked_for(
    upstream: int, client: aiohttp.ClientSession
) -> None:
    async with client.post(completion_url(upstream), json=ask(SHORT, stream=False)) as response:
        answer = ChatCompletion.model_validate_json(await response.read())

    assert len(STAMP.findall((answer.choices[0].message.content or "").encode())) == 3


async def test_upstream_refuses_a_request_that_names_no_traffic(upstream: int, client: aiohttp.ClientSession) -> None:
    async with client.post(completion_url(upstream), json={"model": "gpt-4o", "messages": []}) as response:
        assert response.status == 400
        assert "mock-<chunks>x<gap ms>" in await response.text()


async def test_upstream_counts_a_stream_until_its_reader_has_left(upstream: int, client: aiohttp.ClientSession) -> None:
    async with client.post(completion_url(upstream), json=ask(Traffic(100_000, 10), stream=True)) as response:
        await response.content.readany()
        assert await open_streams(upstream) == 1
        response.close()

    async with asyncio.timeout(5):
        await until_closed(upstream)
    async with client.get(f"http://127.0.0.1:{upstream}/stats") as response:
        assert await response.json() == {"open": 0, "served": 0, "cut": 1}


async def test_upstream_keeps_every_chunk_for_a_reader_that_is_slower_than_it(
    upstream: int, client: aiohttp.ClientSession
) -> None:
    async with client.post(completion_url(upstream), json=ask(Traffic(3000, 0, 4000), stream=True)) as response:
        await response.content.readany()
        assert await open_streams(upstream) == 1
        rest = await response.read()

    assert rest.count(b"T~") >= 2900
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("mode", ["sse", "ws", "json"])
async def test_floor_brings_every_chunk(upstream: int, mode: str) -> None:
    async with TestServer(build_floor(f"http://127.0.0.1:{upstream}/v1")) as server:
        report = await load_on(server.port or 0, mode)

    assert report.errors == {}
    assert report.figures["chunks_per_s"] > 0
    assert 0 < report.figures["latency_p50_ms"] < 5000


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def delta(stamp: int) -> bytes:
    return http_chunk(b'data: {"content":" T~%016d"}\n\n' % stamp)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (SSE_HEAD + delta(1) + delta(2) + DONE, "an answer of 2 chunks, not 3"),
        (SSE_HEAD + delta(1) + delta(2) + delta(2) + delta(3) + DONE, "an answer of 4 chunks, not 3"),
        (SSE_HEAD + delta(1) + delta(3) + delta(2) + DONE, "chunks out of order"),
        (SSE_HEAD + delta(1) + delta(2) + delta(3) + b"0\r\n\r\n", "an event stream without [DONE]"),
        (SSE_HEAD + delta(1) + delta(2), "closed in the middle of an answer"),
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nslow", "HTTP 429: slow"),
    ],
)
async def test_load_generator_names_what_was_wrong_with_an_answer(answer: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        report = await load_on(port, "sse")

    assert list(report.errors) == [reason]


ENDED = '{"stream":"s","n":5,"type":"stream.ended","status":"completed"}'
JOINED = '{"stream":"s","n":2,"type":"text.delta","text":" T~0000000000000001 T~0000000000000002"}'
LAST = '{"stream":"s","n":3,"type":"text.delta","text":" T~0000000000000003"}'


@pytest.mark.parametrize(
    ("frames", "reasons"),
    [
        ([JOINED, LAST, ENDED], []),
        ([JOINED, ENDED], ["an answer of 2 chunks, not 3"]),
        (
            ['{"type":"rejected","re":"b","error":{"code":"rate_limited","message":"Wait."}}'],
            ["rejected  rate_limited: Wait."],
        ),
        (
            [JOINED, LAST, '{"stream":"s","n":5,"type":"stream.ended","status":"failed"}'],
            ["stream.ended failed unknown: "],
        ),
    ],
)
async def test_load_generator_reads_the_engines_protocol(frames: Sequence[str], reasons: Sequence[str]) -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"type":"session.ready","protocol":1}')
        async for message in socket:
            assert msgspec.json.decode(message.data)["type"] == "chat.send"
            for frame in ('{"type":"accepted","re":"b","stream":"s"}', *frames):
                await socket.send_str(frame)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    async with TestServer(app) as server:
        report = await load_on(server.port or 0, "ws", "engine")

    assert list(report.errors) == reasons
    assert (report.figures["answers_per_s"] > 0) is (not reasons)


def test_http_answer_reads_the_same_whole_and_byte_by_byte() -> None:
    answer = SSE_HEAD + delta(1) + delta(2) + DONE
    whole, slow = HttpAnswer(), HttpAnswer()

    body = whole.feed(answer)

    assert body == b"".join(slow.feed(answer[at : at + 1]) for at in range(len(answer)))
    assert STAMP.findall(body) == [b"%016d" % 1, b"%016d" % 2]
    assert whole.over
    assert slow.over


def test_frames_read_the_same_whole_and_byte_by_byte() -> None:
    small, large = b"a" * 125, b"b" * 70_000
    wire = bytes((TEXT, 125)) + small + bytes((TEXT, 127)) + len(large).to_bytes(8, "big") + large
    whole, slow = WsFrames(), WsFrames()

    frames = whole.feed(wire)

    assert frames == [(TEXT, small), (TEXT, large)]
    assert frames == [frame for at in range(0, len(wire), 100) for frame in slow.feed(wire[at : at + 100])]


def test_traffic_is_found_by_the_name_it_gives_itself() -> None:
    traffic = Traffic(60, 2.5, 8, 4)

    assert find_traffic(traffic.prompt.encode()) == traffic
    assert find_traffic(b"mock-5x1") == Traffic(5, 1)
    assert find_traffic(b"gpt-4o") is None


def test_report_compares_only_within_a_round() -> None:
    rows = [
        Row("floor", "ws100", 0, {"cpu_us": 10.0}),
        Row("engine", "ws100", 0, {"cpu_us": 20.0}),
        Row("floor", "ws100", 1, {"cpu_us": 100.0}),
        Row("engine", "ws100", 1, {"cpu_us": 100.0}, {"lost": 2}),
        Row("engine", "ws100", 2, {"cpu_us": 900.0}),
    ]

    assert ratio_to_floor([row for row in rows if row.server == "engine"], cells_of(rows), "cpu_us") == 1.5
    assert "100 (**1.50x**)" in markdown(rows)
    assert "* engine, round 1: 2 x lost" in markdown(rows)
