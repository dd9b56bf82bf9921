"""Forms that are no forms: each is the sender's mistake, in the dialect's shape, with the field at fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.api.routes import Answer, HttpRequest, Route
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor

FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nabc\r\n'
PROMPT = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n'
END = b"--x--\r\n"


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    async def size(request: HttpRequest[Any, Any]) -> Answer:
        assert request.upload is not None
        request.upload.close()
        return Answer({"size": request.upload.size})

    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    bounds = Bounds(max_body=1 << 20, max_frame=1 << 10, ping_interval=30.0)
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=bounds,
        session=lambda: SessionSettings(version="t"),
        guard=None,
        cors=Cors(()),
    )
    routes = [Route(method="POST", path=path, handler=size, scope=None, upload="file") for path in ("/v1/f", "/f")]
    http.routes = RouteTable([("test", route) for route in routes])
    runner, port = await listen(http.application(), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await supervisor.drain(0)
    await runner.cleanup()


async def send(url: str, body: bytes) -> tuple[int, Any]:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_form_with_a_file_is_taken(url: str) -> None:
    assert await send(f"{url}/f", PROMPT + b"\r\nhello\r\n" + FILE + END) == (200, {"size": 3})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(
            b"--x\r\n\x00\x01 junk without a colon\r\n\r\nabc\r\n" + FILE + END, "file", id="junk in a part's head"
        ),
        pytest.param(b"--x\r\nX: " + b"a" * 100_000 + b"\r\n\r\nabc\r\n" + FILE + END, "file", id="a long header"),
        pytest.param(b"None--x--", "file", id="an end without a beginning"),
        pytest.param(
            b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"bogus" * 20 + b"\r\n" + FILE + END,
            "file",
            id="a charset that is none",
        ),
        pytest.param(PROMPT + b"\r\nabc", "file", id="cut off in a field"),
        pytest.param(FILE[:-2], "file", id="cut off in the file"),
        pytest.param(b"--x\r\n\r\nabc\r\n" + FILE + END, "file", id="a part without a name"),
        pytest.param(b"", "file", id="nothing"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/f", "/f"])
async def test_a_form_that_is_none_names_its_field(url: str, path: str, body: bytes, field: str) -> None:
    status, told = await send(url + path, body)
    assert status == 400, told
    if path == "/v1/f":
        told = told["error"]
        assert (told["type"], told["param"]) == ("invalid_request_error", field), told
    else:
        assert told["field"] == field, told
    assert told["code"] == "invalid_request"


@pytest.mark.parametrize(
    "header", ["Content-Encoding: gzip", "Content-Transfer-Encoding: base64", "content-encoding: x"]
)
@pytest.mark.parametrize("part", [PROMPT, FILE.removesuffix(b"\r\nabc\r\n")])
async def test_a_part_that_is_coded_is_refused_and_not_taken_for_what_it_codes(
    url: str, header: str, part: bytes
) -> None:
    body = part.removesuffix(b"\r\n") + b"\r\n" + header.encode() + b"\r\n\r\nabc\r\n" + FILE + END
    status, told = await send(f"{url}/f", body)
    assert (status, told["code"]) == (415, "unsupported_media")
    assert told["field"] == ("prompt" if part is PROMPT else "file")


@pytest.mark.parametrize("coding", ["binary", "8bit", "7BIT"])
async def test_a_part_may_say_that_it_is_not_coded(url: str, coding: str) -> None:
    body = PROMPT + f"Content-Transfer-Encoding: {coding}\r\n\r\nabc\r\n".encode() + FILE + END
    assert await send(f"{url}/f", body) == (200, {"size": 3})
