"""The composition root: makes one server of configuration and plugins, and takes it down again."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from engine.api.routes import Route
from engine.auth.binding import check_binding
from engine.auth.identity import Identity, KeyIdentity, LocalIdentity
from engine.auth.keys import ApiKeys
from engine.auth.limits import RequestRate, SocketCount
from engine.auth.secret import auth_secret
from engine.bus.bus import Bus
from engine.config import ConfigError, ConfigErrors, CoreSettings, RawConfig, read_core
from engine.db.databases import Databases
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.http.documents import Documents
from engine.http.guard import LocalGuard
from engine.http.metrics import Metrics, Standing
from engine.http.streams import stream_routes
from engine.http.table import RouteClash, RouteTable
from engine.http.usage import UsageRoutes
from engine.loader.context import Context, SharedResources, ToolTable
from engine.loader.find import Installed, installed_plugins
from engine.loader.gathered import Clash, Gathered
from engine.loader.health import CheckLine, check_lines
from engine.loader.load import Loader
from engine.loader.names import reserved_commands, reserved_prefixes
from engine.loader.strangers import check_tables
from engine.loader.tables import open_tables
from engine.log import configure, get_logger
from engine.process import (
    LoopLag,
    StopSignals,
    calm_the_collector,
    done_before,
    raise_file_limit,
    resident_bytes,
)
from engine.providers.catalogue import CatalogueClash, load_catalogue
from engine.providers.catalogue_file import shipped_catalogue
from engine.providers.policy import ResiliencePolicy
from engine.providers.registry import ProviderClash, Registry
from engine.sessions.actor import SessionSettings
from engine.sessions.ledger import Ledger
from engine.sessions.supervisor import InProcessCommands, Limits, Supervisor
from engine.sessions.table import CommandClash, CommandTable
from engine.version import product_version

log = get_logger(__name__)

SECRET_FILE = Path("var/auth-secret")


class CannotListen(Exception):
    """Raised when the address or port cannot be listened on; the message says which and why."""


class Engine:
    """One server. `start` may raise what makes a start impossible, each with a sentence for the operator."""

    def __init__(self, raw: RawConfig, installed: Mapping[str, Installed] | None = None) -> None:
        self.raw = raw
        self.core: CoreSettings = read_core(raw)
        self.version = product_version()
        self.loader = Loader(
            installed if installed is not None else installed_plugins(),
            self.core.plugins.enabled,
            self.core.plugins.required,
        )
        self.databases = Databases(
            {"default": self.core.databases.default, **self.core.databases.named},
        )
        self.tools = ToolTable()
        self.shared = SharedResources()
        self.registry = self._registry()
        bus = self.core.bus
        self._loop_time = asyncio.get_running_loop().time
        self.bus = Bus(clock=self._loop_time, stream_bytes=bus.stream_bytes, memory=bus.memory, keep=bus.keep)
        self.supervisor = Supervisor(self.bus, limits=Limits(principal_streams=self.core.limits.principal_streams))
        self.commands = InProcessCommands(self.supervisor)
        self._loop_lag = LoopLag(self.supervisor.stats.loop_lag.observe)
        self.http: Http | None = None
        self.port = 0
        self._gathered: Gathered | None = None
        self._runner: web.AppRunner | None = None
        self._stopped = False

    # Start

    async def start(self) -> None:
        """Bring everything up, the port last."""
        self.judge()
        try:
            await self._open_databases()
            self.http = self._open_http()
            self.swap()
            await self.supervisor.open()
            await self._enter_lifespans()
            self._loop_lag.start()
            await self._listen()
        except BaseException:
            await self._give_up()
            raise
        self._log_start()

    async def _enter_lifespans(self) -> None:
        failed = await self.loader.enter_lifespans()
        if failed and self._gathered is not None:
            # The others are not asked again: what they brought is what their lifespans have opened.
            self._put_in_place(self._gathered.without(failed))

    async def _give_up(self) -> None:
        """Close what is open, and leave the word to the error that made the start impossible."""
        try:
            await self.stop(0)
        except Exception:
            log.exception("stop_failed")

    def judge(self) -> None:
        """All that can be said of configuration and plugins before anything is opened."""
        check_binding(self.core.server.host, self.core.auth.mode)
        self._cross_origin()
        self.prepare_plugins()

    def prepare_plugins(self) -> None:
        """Load plugins and judge their settings and every table's name; opens nothing."""
        self.loader.load(self.raw)
        check_tables(self.raw, self.loader.settings(self.raw), self.loader.off)
        for part in self.loader.parts.values():
            if part.plugin is not None:
                part.context = Context(
                    type(part.plugin),
                    self.loader.tables,
                    providers=self.registry,
                    commands=self.commands,
                    tools=self.tools,
                    database=self.databases.database,
                    shared=self.shared,
                )

    def _registry(self) -> Registry:
        models = self.core.models
        policy = ResiliencePolicy(
            connect=models.connect_timeout,
            first_event=models.first_event_timeout,
            total=models.total_timeout,
            retries=models.retries,
            breaker_failures=models.breaker_failures,
            breaker_reset=models.breaker_reset,
        )
        return Registry(
            policy=policy,
            aliases=models.aliases,
            fallbacks=models.fallbacks,
            default_model=models.default,
            default_embedding=models.embedding,
            retired=models.retired,
        )

    # Data

    async def _open_databases(self) -> None:
        await open_tables(self.loader, self.databases, auto_upgrade=self.core.databases.auto_upgrade)
        default = self.databases.database()
        owner = f"{socket.gethostname()[:30]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.supervisor.ledger = Ledger(default, owner, embedded=default.embedded)

    # Tables

    def swap(self) -> None:
        """Ask the plugins what they bring and put the new tables in the place of the old; on a clash nothing changes."""
        self._put_in_place(self._servable(self.loader.gather()))

    def _servable(self, gathered: Gathered) -> Gathered:
        """Without the plugins whose addresses are none; they are off."""
        for owner, route in gathered.routes:
            try:
                RouteTable([(owner, route)])
            except ValueError as error:
                self.loader.fail(self.loader.parts[owner], f"register_routes failed: {error}")
        return gathered.without(self.loader.off)

    def _put_in_place(self, gathered: Gathered) -> None:
        absent = self.loader.absent
        try:
            catalogue = load_catalogue(self._catalogue_files(), gathered.models)
            commands = CommandTable(gathered.commands, reserved_commands(absent))
            routes = RouteTable([*self._own_routes(), *gathered.routes], reserved_prefixes(absent))
            self.registry.swap(gathered.providers, catalogue)
        except (CommandClash, RouteClash, ProviderClash, CatalogueClash) as error:
            raise Clash(str(error)) from None
        self._gathered = gathered
        self.tools.swap({tool.name: tool for _, tool in gathered.tools})
        self.supervisor.table = commands
        self.supervisor.listeners = tuple(listener for _, listener in gathered.listeners)
        if self.http is not None:
            self.http.routes = routes

    def _catalogue_files(self) -> list[Path]:
        own = self.core.models.catalogue
        return [shipped_catalogue(), *([own] if own is not None else [])]

    def _own_routes(self) -> list[tuple[str, Route]]:
        documents = Documents(
            self.version,
            lambda: self.http.routes if self.http is not None else RouteTable(()),
            lambda: self.supervisor.table,
            self.checks,
            lambda: self.supervisor.draining,
        )
        metrics = Metrics(self.supervisor.stats, self._standing)
        usage = UsageRoutes(self.databases.database())
        own = (*documents.routes(), *metrics.routes(), *usage.routes(), *stream_routes(self.supervisor))
        return [("engine", route) for route in own]

    def _standing(self) -> Standing:
        streams, held, held_bytes = self.bus.held
        return Standing(
            version=self.version,
            streams=streams,
            held_streams=held,
            held_bytes=held_bytes,
            sockets=len(self.http.sockets) if self.http is not None else 0,
            database_rows={each.name: each.writer.queued_rows for each in self.databases if each.is_open},
            breakers=self.registry.left_alone(),
            resident_bytes=resident_bytes(),
        )

    def checks(self) -> list[CheckLine]:
        """Every line of `/health/ready`."""
        return check_lines(self.loader.parts.values(), self._gathered.checks if self._gathered else ())

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the plugins that are on."""
        return tuple(sorted(part.name for part in self.loader.parts.values() if part.on))

    # The port

    def _open_http(self) -> Http:
        server, limits = self.core.server, self.core.limits
        sockets, rate = SocketCount(limits.principal_sockets), RequestRate(limits.requests_per_minute)
        guard, cors = self._cross_origin()
        return Http(
            self.supervisor,
            self._identity(),
            bounds=Bounds(server.max_body, server.max_frame, server.ping_interval),
            session=self._session_settings,
            guard=guard,
            cors=cors,
            admit_socket=sockets.admit,
            admit_request=rate.admit,
            allowance=rate.allowance,
        )

    def _cross_origin(self) -> tuple[LocalGuard | None, Cors]:
        """Who may call from other pages' origins; raises `ConfigErrors` for an origin or host that is none."""
        auth, origins = self.core.auth, self.core.server.cors_origins
        try:
            return LocalGuard(auth.allowed_hosts, origins) if auth.mode == "local" else None, Cors(origins)
        except ValueError as error:
            key = "server.cors_origins"
            raise ConfigErrors([ConfigError(key=key, origin=self.raw.origin(key), message=str(error))]) from None

    def _identity(self) -> Identity:
        if self.core.auth.mode == "local":
            return LocalIdentity()
        return KeyIdentity(ApiKeys(self.databases.database(), auth_secret(self.core.auth.secret, SECRET_FILE)))

    def _session_settings(self) -> SessionSettings:
        server = self.core.server
        return SessionSettings(
            version=self.version,
            features=self.features,
            mailbox=server.mailbox,
            max_frame=server.max_frame,
            authenticate_within=server.authenticate_timeout,
            streams=self.core.limits.session_streams,
        )

    async def _listen(self) -> None:
        assert self.http is not None
        server = self.core.server
        try:
            self._runner, self.port = await listen(self.http.application(), server.host, server.port)
        except OSError as error:
            why = error.strerror or str(error)
            raise CannotListen(
                f"cannot listen on {self._address(server.port)}: {why}; "
                "choose with server.host and server.port, or --host and --port"
            ) from None

    def _address(self, port: int) -> str:
        host = self.core.server.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _log_start(self) -> None:
        for warning in self.registry.warnings():
            log.warning("model_not_ready", reason=warning)
        log.info(
            "listening",
            url=f"http://{self._address(self.port)}",
            plugins=list(self.features),
            config=str(self.raw.file or "built in"),
            auth=self.core.auth.mode,
        )

    # Stop

    async def stop(self, drain: float | None = None) -> None:
        """Tell clients, let turns finish for `drain` seconds (as configured when absent), close everything."""
        if self._stopped:
            return
        self._stopped = True
        self._loop_lag.stop()
        seconds = self.core.server.drain if drain is None else drain
        # Closed from the last to the first, each whatever the one before raised.
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.databases.close)
            closing.push_async_callback(self.shared.stack.aclose)
            closing.push_async_callback(self.loader.close)
            closing.push_async_callback(self.supervisor.close)
            if self._runner is not None:
                closing.push_async_callback(self._runner.cleanup)
            if self.http is not None:
                closing.push_async_callback(self.http.sockets.close)
                await self.http.sockets.drain(seconds)
            await self.supervisor.drain(seconds)


async def serve(raw: RawConfig) -> None:
    """Run a server until SIGTERM or SIGINT; a second signal stops it without waiting for its turns."""
    raise_file_limit()
    engine = Engine(raw)
    configure(engine.core.log)
    signals = StopSignals()
    signals.listen()
    if not await done_before(signals.stop, engine.start()):
        log.info("stopped", during="start")
        return
    calm_the_collector()
    await signals.stop.wait()
    log.info("draining", seconds=engine.core.server.drain, turns=engine.supervisor.running)
    stopping = asyncio.ensure_future(engine.stop())
    hurrying = asyncio.ensure_future(signals.hurry.wait())
    await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
    if signals.hurry.is_set():
        engine.supervisor.hurry()
    await stopping
    hurrying.cancel()
    log.info("stopped")
