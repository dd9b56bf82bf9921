"""Traces by OpenTelemetry: one from a frame or request to the vendor and back. Off, it costs a look at an attribute.

Spans carry names, models, tokens and codes of errors: nothing of what users say, and no one's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from engine.api.errors import EngineError
from engine.wire.trace import TRACE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SENT_WITHIN = 3.0
"""Seconds that a receiver has to take what it is sent, also when the server goes down."""

Value: TypeAlias = str | int | float | bool


class Span(Protocol):
    """A step of a trace, while it lasts."""

    def rename(self, name: str) -> None:
        """Call it otherwise, now that it is known what it is."""
        ...

    def tell(self, **attributes: Value | None) -> None:
        """Add what is known by now; `__` stands for the dot in a name, and None is left out."""
        ...

    def fail(self, code: str) -> None:
        """It did not come out well."""
        ...


class _NoSpan:
    def rename(self, name: str) -> None:
        pass

    def tell(self, **attributes: Value | None) -> None:
        pass

    def fail(self, code: str) -> None:
        pass


_NOTHING: AbstractContextManager[Span] = nullcontext(_NoSpan())


class Tracing:
    """The spans of one engine; none before `open`."""

    def __init__(self) -> None:
        self._sdk: _Sdk | None = None

    def open(self, endpoint: str, service: str, version: str, sample: float) -> None:
        """Begin to trace, and send what is traced to an OTLP receiver."""
        self._sdk = _Sdk(endpoint, service, version, sample)

    async def close(self) -> None:
        """Send what has not been sent."""
        if self._sdk is not None:
            sdk, self._sdk = self._sdk, None
            await asyncio.to_thread(sdk.provider.shutdown)

    def request(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """Around an HTTP request; its `traceparent` makes it a part of the caller's trace."""
        if self._sdk is None:
            return _NOTHING
        return self._sdk.span(method, "SERVER", {"http.request.method": method}, headers)

    def frame(self, traceparent: str | None) -> AbstractContextManager[object]:
        """Around the start of a frame's command, which may belong to a trace of the caller's."""
        if self._sdk is None or traceparent is None:
            return _NOTHING
        return self._sdk.remote({"traceparent": traceparent})

    def turn(self, command: str, stream: str) -> AbstractContextManager[Span]:
        """Around the work of a turn."""
        if self._sdk is None:
            return _NOTHING
        return self._sdk.span(command, "INTERNAL", {"betterai.stream": stream})

    def call(self, role: str, provider: str, model: str) -> AbstractContextManager[Span]:
        """Around one call to a provider (OpenTelemetry's conventions for generative AI)."""
        if self._sdk is None:
            return _NOTHING
        told: Mapping[str, Value] = {
            "gen_ai.operation.name": role,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        return self._sdk.span(f"{role} {model}", "CLIENT", told)


class _Sdk:
    """OpenTelemetry's SDK with an exporter of its own, so that two engines of one process do not share one."""

    provider: TracerProvider

    def __init__(self, endpoint: str, service: str, version: str, sample: float) -> None:
        # An extra, and heavy: imported where it is asked for.
        from opentelemetry import context, trace

        # As above.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        # As above.
        from opentelemetry.sdk.resources import Resource

        # As above.
        from opentelemetry.sdk.trace import TracerProvider, export, sampling

        # As above.
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": service, "service.version": version})
        sampler = sampling.ParentBased(sampling.TraceIdRatioBased(sample))
        self.provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=SENT_WITHIN)
        self.provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._trace = trace
        self._context = context
        self._tracer = self.provider.get_tracer("betterai", version)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: str, attributes: Mapping[str, Value], carrier: Mapping[str, str] | None = None
    ) -> Iterator[Span]:
        """A step that lasts as long as the block; what the block raises makes it a failed one."""
        with self._tracer.start_as_current_span(
            name,
            context=self._propagator.extract(carrier) if carrier is not None else None,
            kind=self._trace.SpanKind[kind],
            attributes=attributes,
            # The texts of errors may hold what users said.
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            span = _OtelSpan(started, self._trace)
            token = TRACE.set(self._headers())
            try:
                yield span
            except asyncio.CancelledError:
                span.fail("cancelled")
                raise
            except BaseException as error:
                span.fail(error.code if isinstance(error, EngineError) else type(error).__name__)
                raise
            finally:
                TRACE.reset(token)

    @contextmanager
    def remote(self, carrier: Mapping[str, str]) -> Iterator[None]:
        """What begins in the block belongs to the caller's trace; a carrier that is none is passed over."""
        token = self._context.attach(self._propagator.extract(carrier))
        try:
            yield
        finally:
            self._context.detach(token)

    def _headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier


class _OtelSpan:
    def __init__(self, span: Any, trace: Any) -> None:
        self._span = span
        self._trace = trace

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def tell(self, **attributes: Value | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name.replace("__", "."), value)

    def fail(self, code: str) -> None:
        self._span.set_attribute("error.type", code)
        self._span.set_status(self._trace.StatusCode.ERROR, code)
