"""A receiver of OpenTelemetry traces: OTLP over HTTP with protobuf bodies (opentelemetry-proto, `TraceService/Export`)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """One span; ids in hexadecimal, `parent` empty where it has none."""

    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any] = field(default_factory=dict)


class OtlpReceiver:
    """Takes traces on a free loopback port, as an async context manager."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.services: set[str] = set()
        self.port = 0
        self._came = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, met: Callable[[list[ReceivedSpan]], bool], seconds: float = 20.0) -> None:
        """Return once what has come is enough."""
        async with asyncio.timeout(seconds):
            while not met(self.spans):
                self._came.clear()
                await self._came.wait()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest()
        message.ParseFromString(body)
        for resource in message.resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += [_received(span) for span in scope.spans]
        self._came.set()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _received(span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=span.status.code == 2,
        attributes={each.key: _value(each.value) for each in span.attributes},
    )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
