"""The aiohttp application: one catch-all that resolves in a route table which is swapped whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from aiohttp import HttpVersion11, web, web_response

from engine.api.errors import (
    EngineError,
    Forbidden,
    InvalidRequest,
    RequestTimeout,
    ShuttingDown,
    Unauthenticated,
    UpgradeRequired,
)
from engine.api.identity import Principal
from engine.api.routes import Route, Upgrade, Upload
from engine.auth.identity import Caller, Identity
from engine.auth.rates import Rates
from engine.guard import WrongAnswer, defined_at, is_ours, let_go, raised_at
from engine.http import answers
from engine.http.arriving import MOST_AT_ONCE, Arriving, Room
from engine.http.connections import Connection, Listening, Strangers, most_strangers
from engine.http.cors import Cors
from engine.http.doors import Doors
from engine.http.guard import REQUEST_ID, LocalGuard, request_id
from engine.http.problem import answer_error
from engine.http.route_socket import RouteSockets
from engine.http.socket import HARD_FRAME_FACTOR, SocketPeer, Sockets
from engine.http.sse import StreamFailed
from engine.http.table import RouteTable, WrongMethod
from engine.http.typed import lower_headers, typed_request
from engine.http.uploads import UploadPlaces, read_form
from engine.log import bound_contextvars, get_logger
from engine.request_size import REQUEST_SIZE
from engine.sessions.actor import UNAUTHENTICATED_CLOSE, Session, SessionSettings
from engine.sessions.supervisor import Supervisor
from engine.stats import Stats
from engine.uses import Uses
from engine.wire.apart import LARGE, apart_if

log = get_logger(__name__)

SOCKET_PATH = "/ws"
LEFT = 499
"""In the log, the status of a request whose caller left before it was answered."""
CONTINUE = "100-continue"
"""The one expectation that HTTP knows (RFC 9110, section 10.1.1)."""
SERVER = "BetterAI"
"""The header `Server`."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ROUTE = web.RequestKey("route", str)
"""The address of the route that answers a request, as it was registered."""
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_AUTHORITY_END = re.compile(r"[/?#]")
ID = web.RequestKey("id", str)
CODE = web.RequestKey("code", str)
"""The code of the error that it was answered with."""
CALLER = web.RequestKey("caller", Principal)
ANYBODY = Principal("anybody", frozenset())
"""Who asks where nobody has to say who they are."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes in bytes, times in seconds."""

    max_body: int
    max_frame: int
    ping_interval: float
    max_upload: int = 512 << 20
    max_inflated: int = 8 << 20
    body_timeout: float = 30.0
    uploads: int = 64
    principal_uploads: int = 8


class Http:
    """Answers requests. `routes` is replaced whole when a plugin is switched."""

    def __init__(
        self,
        supervisor: Supervisor,
        identity: Identity,
        *,
        bounds: Bounds,
        session: Callable[[], SessionSettings],
        guard: LocalGuard | None,
        cors: Cors,
        admit_socket: Callable[[Principal], Callable[[], None]] | None = None,
        rates: Rates | None = None,
        large: Callable[[int], None] | None = None,
    ) -> None:
        self.routes = RouteTable(())
        self.access_log = False
        """Whether each request gets a line in the log, and not the failed ones alone."""
        self.sockets = Sockets(large)
        self.route_sockets = RouteSockets(large)
        self.doors = Doors(identity, supervisor.callers, supervisor.stop_of_key)
        self.uses: Uses[object, str] = Uses()
        """Requests that are answered now, by the plugin whose route answers."""
        self._supervisor = supervisor
        self._identity = identity
        self._bounds = bounds
        self._session = session
        self._guard = guard
        self._cors = cors
        self._admit_socket = admit_socket
        self._rates = rates
        self._stats = supervisor.stats
        self.room = Room(MOST_AT_ONCE * bounds.max_body, large)
        """What bodies hold of the memory."""
        self._uploads = UploadPlaces(bounds.uploads, bounds.principal_uploads)

    def application(self) -> web.Application:
        """The application to run; its router has one entry."""
        app = web.Application()
        # Every character, a line end too: what is nowhere is told in our own words.
        app.router.add_route("*", r"/{path:[\s\S]*}", self.handle, expect_handler=_go_on)
        app.cleanup_ctx.append(self._look_at_keys)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; nothing that goes wrong leaves as anything but an error in the caller's dialect."""
        try:
            return await self._handled(request)
        finally:
            if isinstance(request.protocol, Connection):
                request.protocol.answered()

    async def _handled(self, request: web.Request) -> web.StreamResponse:
        begun = request[answers.BEGUN] = perf_counter()
        upgrade = request.headers.get("Upgrade") is not None
        try:
            # A socket lives for long, and each of its commands is traced for itself.
            answered = await (self._handle(request) if upgrade else self._traced(request))
        except asyncio.CancelledError:
            self._log_request(request, 101 if upgrade else LEFT, None, 0, perf_counter() - begun)
            raise
        status, seconds = answered.status, perf_counter() - begun
        self._log_request(
            request, status, answered.headers.get(answers.STREAM_HEADER), answered.content_length or 0, seconds
        )
        if status != 101:  # a socket is counted when it opens, and lasts as long as it likes
            method = request.method if request.method in METHODS else "other"
            self._stats.request(method, request.get(ROUTE, "none"), status, seconds)
        return answered

    async def _traced(self, request: web.Request) -> web.StreamResponse:
        with self._supervisor.tracing.request(request.method, request.headers) as span:
            answered = await self._handle(request)
            span.rename(f"{request.method} {request.get(ROUTE, 'none')}")
            span.tell(http__route=request.get(ROUTE), http__response__status_code=answered.status)
            if answered.status >= 500:
                span.fail(str(answered.status))
            return answered

    def _log_request(self, request: web.Request, status: int, stream: str | None, size: int, seconds: float) -> None:
        """A line for a request that failed and, where the operator wants it, for each other one and each closed socket."""
        failed = status >= 400 and status != LEFT
        if not failed and not self.access_log:
            return
        caller = request.get(CALLER)
        tell = log.warning if status >= 500 else log.info
        tell(
            "request_failed" if failed else "request",
            request_id=request.get(ID),
            stream=stream,
            principal=caller.id if caller is not None else None,
            key=caller.key if caller is not None else None,
            method=request.method if request.method in METHODS else "other",
            route=request.get(ROUTE, "none"),
            status=status,
            code=request.get(CODE),
            ms=round(seconds * 1000, 1),
            bytes=request.get(answers.SENT, size),
        )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = lower_headers(request.headers.items())
        id = request[ID] = request_id(headers.get("x-request-id"))
        extra = {REQUEST_ID: id, **self._cors.headers(headers.get("origin"))}
        route: Route | None = None
        owner: str | None = None
        use = object()
        with bound_contextvars(request_id=id):
            try:
                if self._guard is not None:
                    self._guard.check(_peer(request), headers)
                    if (authority := _authority(request.raw_path)) is not None:
                        # Where the request's line names a host, that one is asked (RFC 9112, section 3.2.2).
                        self._guard.check(_peer(request), {**headers, "host": authority})
                if headers.get("expect", CONTINUE).lower() != CONTINUE:
                    raise unmet()
                preflight = self._cors.preflight(request.method, headers)
                if preflight is not None:
                    return answers.whole(preflight, extra)
                if request.path == SOCKET_PATH:
                    request[ROUTE] = SOCKET_PATH
                    if request.method != "GET":
                        raise WrongMethod(request.method, SOCKET_PATH, ["GET"])
                    if not _is_upgrade(headers):
                        raise _no_upgrade(SOCKET_PATH)
                    check_handshake(headers)
                    return await self._socket(request, headers)
                match = self.routes.resolve(request.method, request.rel_url.raw_path)
                route, owner = match.route, match.owner
                request[ROUTE] = route.path
                self.uses.begin(use, match.owner)
                if route.socket:
                    return await self._route_socket(request, route, match.path, headers, id, extra, use, match.owner)
                return await self._answer(request, route, match.path, headers, id, extra)
            except EngineError as error:
                if isinstance(error, RequestTimeout):
                    request.protocol.close()  # its body would be taken for the next request
                return self._failed(error, id, route, extra, request)
            except (web.RequestPayloadError, web.HTTPClientError):
                error_of_sender = InvalidRequest("the request's headers or its body are malformed, or cut off")
                return self._failed(error_of_sender, id, route, extra, request)
            except BaseException as error:
                if is_ours(error):
                    raise
                if isinstance(error, ConnectionError) and _has_left(request):
                    return web.Response()  # for nobody: the caller left in the middle of the answer
                at = _crashed_at(error, route)
                log.exception("request_crashed", plugin=owner, method=request.method, path=request.path, at=at)
                return self._failed(error, id, route, extra, request)
            finally:
                self.uses.end(use)

    def _failed(
        self, error: BaseException, id: str, route: Route | None, extra: dict[str, str], request: web.Request
    ) -> web.StreamResponse:
        request[CODE] = error.code if isinstance(error, EngineError) else "internal"
        if isinstance(error, StreamFailed) and error.stream is not None:
            extra = {**extra, answers.STREAM_HEADER: error.stream}
        answer = answers.whole(answer_error(error, id, route.errors if route else None, request.path), extra)
        let_go(error)
        return answer

    async def _answer(
        self,
        request: web.Request,
        route: Route,
        path: Mapping[str, str],
        headers: dict[str, str],
        id: str,
        extra: dict[str, str],
    ) -> web.StreamResponse:
        caller = await self._admitted(request, route, headers, extra)
        _known(request, caller.principal)
        task = asyncio.current_task()
        assert task is not None
        shut: list[str] = []

        def shut_out(why: str) -> None:
            if not shut:
                shut.append(why)
                task.cancel()

        with self.doors.hold(caller.principal, shut_out):
            try:
                return await self._admitted_answer(request, route, path, headers, id, extra, caller)
            except asyncio.CancelledError:
                if not shut or request.writer.output_size:
                    raise
                task.uncancel()
                raise Unauthenticated(shut[0]) from None

    async def _admitted_answer(
        self,
        request: web.Request,
        route: Route,
        path: Mapping[str, str],
        headers: dict[str, str],
        id: str,
        extra: dict[str, str],
        caller: Caller,
    ) -> web.StreamResponse:
        form = None
        if route.upload is not None:
            with self._uploads.held(caller.principal):
                form = await read_form(request, route.upload, self._bounds.max_upload, self._bounds.body_timeout)
        try:
            return await self._typed(request, route, path, headers, id, extra, caller, form)
        except BaseException:
            if form is not None:
                form[1].close()
            raise

    async def _admitted(
        self, request: web.Request, route: Route, headers: Mapping[str, str], extra: dict[str, str]
    ) -> Caller:
        """Who asks, if they may; `extra` is told what is left of their rates. The log names whom it refuses, too."""
        if route.scope is None:
            request[CALLER] = ANYBODY
            return Caller(ANYBODY)
        caller = await self._identity.caller(headers, route.passes)
        principal = request[CALLER] = caller.principal
        if not principal.may(route.scope):
            raise Forbidden(f"{route.path} needs a key with the scope {route.scope!r}")
        if self._rates is not None:
            verdict = await self._rates.admit(principal)
            extra |= verdict.headers()
            if verdict.refusal is not None:
                raise verdict.refusal
        return caller

    async def _typed(
        self,
        request: web.Request,
        route: Route,
        path: Mapping[str, str],
        headers: dict[str, str],
        id: str,
        extra: dict[str, str],
        caller: Caller,
        form: tuple[list[tuple[str, str]], Upload] | None,
    ) -> web.StreamResponse:
        bounds = self._bounds
        arriving = Arriving(
            request, self.room, most=bounds.max_body, inflated=bounds.max_inflated, patience=bounds.body_timeout
        )
        try:
            body = await arriving.read() if request.body_exists and form is None else b""
            REQUEST_SIZE.set(len(body))
            work = partial(
                typed_request,
                route,
                principal=caller.principal,
                request_id=id,
                path=path,
                query=list(request.query.items()),
                headers=headers,
                body=body,
                form=form,
                granted=caller.granted,
            )
            result = await route.handler(await apart_if(len(body) > LARGE, work))
        finally:
            arriving.release()
        return await answers.write(request, result, extra)

    async def _route_socket(
        self,
        request: web.Request,
        route: Route,
        path: Mapping[str, str],
        headers: dict[str, str],
        id: str,
        extra: dict[str, str],
        use: object,
        owner: str,
    ) -> web.StreamResponse:
        if not _is_upgrade(headers):
            raise _no_upgrade(route.path)
        check_handshake(headers)
        if self._supervisor.draining:
            raise ShuttingDown("the server is going down; connect again in a moment", retry_after=1.0)
        caller = await self._admitted(request, route, headers, extra)
        principal = caller.principal
        _known(request, principal)
        typed = typed_request(
            route,
            principal=principal,
            request_id=id,
            path=path,
            query=list(request.query.items()),
            headers=headers,
            body=b"",
            granted=caller.granted,
        )

        leave = self._admit_socket(principal) if self._admit_socket else None
        try:
            result = await route.handler(typed)
            if not isinstance(result, Upgrade):
                return await answers.write(request, result, extra)
            self._stats.sessions += 1
            with self.doors.hold(principal, lambda why: self.route_sockets.shut(use, why)):
                return await self.route_sockets.serve(
                    request,
                    result,
                    use=use,
                    owner=owner,
                    headers=extra,
                    admitted=lambda: self._still_admitted(principal, route.scope),
                    max_message=self._bounds.max_frame * HARD_FRAME_FACTOR,
                    heartbeat=self._bounds.ping_interval * 4 / 3,
                )
        finally:
            if leave is not None:
                leave()

    async def _socket(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        if self._supervisor.draining:
            raise ShuttingDown("the server is going down; connect again in a moment", retry_after=1.0)
        principal = await self._identity.from_headers(headers)
        # A socket lives long, and its handshake is over.
        headers.clear()
        self._stats.sessions += 1
        with ExitStack() as held:
            if principal is not None:
                request[CALLER] = principal
                self._admit_to_socket(principal, held)
            return await self.sockets.serve(
                request,
                lambda peer: self._open_session(request, peer, principal, held),
                max_frame=self._bounds.max_frame,
                ping=self._bounds.ping_interval,
            )

    def _open_session(
        self, request: web.Request, peer: SocketPeer, principal: Principal | None, held: ExitStack
    ) -> Session:
        def stay(caller: Principal) -> None:
            _known(request, caller)
            held.enter_context(self.doors.hold(caller, lambda why: peer.close(UNAUTHENTICATED_CLOSE, why)))

        async def authenticate(presented: str) -> Principal:
            found = await self._identity.from_key(presented)
            request[CALLER] = found
            self._admit_to_socket(found, held)
            stay(found)
            return found

        if principal is not None:
            stay(principal)
        return Session(
            peer,
            self._supervisor,
            self._session(),
            principal=principal,
            authenticate=authenticate,
            admit=self._admit_command,
        )

    def _admit_to_socket(self, caller: Principal, held: ExitStack) -> None:
        if self._admit_socket is not None:
            held.callback(self._admit_socket(caller))

    async def _admit_command(self, caller: Principal) -> Principal:
        """The caller as their key stands now: a verdict is remembered for seconds, so this costs little and is soon true."""
        now = await self._identity.standing(caller)
        if self._rates is not None:
            refusal = (await self._rates.admit(now)).refusal
            if refusal is not None:
                raise refusal
        return now

    async def _still_admitted(self, principal: Principal, scope: str | None) -> None:
        if principal is ANYBODY:
            return
        now = await self._identity.standing(principal)
        if scope is not None and not now.may(scope):
            raise Forbidden(f"this needs a key with the scope {scope!r}")

    async def _look_at_keys(self, app: web.Application) -> AsyncIterator[None]:
        self.doors.open()
        yield
        await self.doors.close()


def unmet() -> EngineError:
    """The refusal of an expectation that nobody knows; it is not repeated."""
    error = InvalidRequest(f"the header Expect is {CONTINUE}, or left out", field="Expect")
    error.status = 417  # type: ignore[misc]
    return error


async def _go_on(request: web.Request) -> None:
    """Ask for the body of a request that waits for leave to send it; any other expectation is answered as a request is."""
    if request.headers.get("Expect", "").lower() == CONTINUE and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


def _known(request: web.Request, principal: Principal) -> None:
    """Who asks is known, so that the connection is no stranger's while it is answered."""
    if principal is not ANYBODY and isinstance(request.protocol, Connection):
        request.protocol.known()


def _crashed_at(error: BaseException, route: Route | None) -> str:
    """Where it came from; the handler itself where it has returned what cannot be sent."""
    if isinstance(error, WrongAnswer) and not error.at and route is not None:
        return defined_at(route.handler)
    return raised_at(error)


def _authority(target: str) -> str | None:
    """The host and port of a request's line that holds a whole address, None for one that holds a path."""
    scheme, found, rest = target.partition("://")
    return _AUTHORITY_END.split(rest, maxsplit=1)[0] if found and scheme.isalnum() else None


def check_handshake(headers: Mapping[str, str]) -> None:
    """Pass, or raise what is wrong with the headers that ask for a WebSocket."""
    if headers.get("sec-websocket-version") != "13":
        raise UpgradeRequired(
            "a WebSocket is asked for with `Sec-WebSocket-Version: 13`", field="Sec-WebSocket-Version"
        )
    if "upgrade" not in headers.get("connection", "").lower():
        raise InvalidRequest("a WebSocket is asked for with `Connection: Upgrade`", field="Connection")
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "")):
        raise InvalidRequest("Sec-WebSocket-Key is 16 bytes in base64", field="Sec-WebSocket-Key")


def _no_upgrade(path: str) -> UpgradeRequired:
    return UpgradeRequired(f"{path} is a WebSocket; ask for it with `Upgrade: websocket`")


def _is_upgrade(headers: Mapping[str, str]) -> bool:
    return headers.get("upgrade", "").lower() == "websocket"


def _peer(request: web.Request) -> str | None:
    transport = request.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    return name[0] if isinstance(name, tuple) else None


def _has_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _name_the_server() -> None:
    """Have the header `Server` say no versions, in the answers that aiohttp gives by itself, too: it reads the name there."""
    vars(web_response)["SERVER_SOFTWARE"] = SERVER


async def listen(
    app: web.Application, host: str, port: int, strangers: Strangers | None = None
) -> tuple[web.AppRunner, int]:
    """Open the port; gives the runner and the port, which is a free one where 0 was asked for."""
    _name_the_server()
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=2.0,
        keepalive_timeout=75.0,
        auto_decompress=False,
        lingering_time=2.0,
    )
    await runner.setup()
    if strangers is None:
        strangers = Strangers(most_strangers(1024), 10.0, Stats())
    site = Listening(runner, host, port, strangers)
    try:
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
