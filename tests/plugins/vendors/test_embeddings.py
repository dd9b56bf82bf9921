"""An embedding whose vendor answers and then falls silent: the error says that the call may be billed."""

from __future__ import annotations

import asyncio

import pytest

from engine.api import ProviderUnavailable
from plugins.vendors.failures import Vendor
from plugins.vendors.large import JSON, post_document
from plugins.vendors.transport import vendor_http

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "begun"), [(WHOLE + b'{"data": [', True), (WHOLE, True), (WHOLE[:12], False), (b"", False)]
)
async def test_a_body_that_breaks_off_has_begun(answer: bytes, begun: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, vendor_http() as http:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderUnavailable) as raised:
            await post_document(http, f"http://127.0.0.1:{port}/", JSON, b"{}", Vendor("Lab"), longest=1 << 20)
    assert raised.value.begun is begun
