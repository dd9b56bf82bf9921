"""An embedding whose vendor answers and then falls silent: the error says that the call may be billed."""

from __future__ import annotations

import asyncio

import pytest

from engine.api import ProviderUnavailable
from plugins.vendors.failures import Vendor
from plugins.vendors.large import JSON, post_document
from plugins.vendors.transport import vendor_http

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize("answer", [WHOLE + b'{"data": [', WHOLE, WHOLE[:12], b""])
async def test_a_connection_that_ends_after_the_request_says_that_it_may_be_billed(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, vendor_http() as http:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderUnavailable) as raised:
            await post_document(http, f"http://127.0.0.1:{port}/", JSON, b"{}", Vendor("Lab"), longest=1 << 20)
    assert raised.value.begun
