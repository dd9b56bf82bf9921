"""The composition root: makes one server of configuration and plugins, and takes it down again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from engine.admin import AdminRoutes
from engine.api.errors import EngineError
from engine.api.identity import KeyLimits
from engine.api.routes import Route
from engine.auth.binding import check_binding
from engine.auth.identity import Identity, KeyIdentity, LocalIdentity
from engine.auth.keys import VOID_REMEDY, ApiKeys
from engine.auth.limits import SocketCount
from engine.auth.passes import SignedPasses
from engine.auth.rates import Rates
from engine.auth.secret import auth_secret, derived
from engine.blocking import BlockingWatch
from engine.bus.bus import Bus
from engine.config import CORE_TABLES, ConfigError, ConfigErrors, CoreSettings, RawConfig, read_core
from engine.config.settings import LimitsSettings
from engine.config.variables import ignored_variables
from engine.db.databases import Databases
from engine.http.app import Bounds, Http, listen
from engine.http.connections import Strangers, most_strangers
from engine.http.cors import Cors
from engine.http.documents import Documents
from engine.http.front import About, parts
from engine.http.guard import LocalGuard
from engine.http.metrics import Metrics, Standing
from engine.http.probes import Probes, for_anybody
from engine.http.streams import stream_routes
from engine.http.table import RouteTable
from engine.http.usage import UsageRoutes
from engine.loader.context import Context, SharedResources, ToolTable
from engine.loader.find import Installed, installed_plugins
from engine.loader.gathered import Gathered
from engine.loader.health import CheckLine, check_lines
from engine.loader.load import Loader, StruckOut
from engine.loader.strangers import check_tables
from engine.loader.tables import open_tables
from engine.log import configure, get_logger
from engine.process import (
    Blame,
    LastWord,
    LoopLag,
    StopSignals,
    Trimming,
    calm_the_collector,
    done_before,
    hurry_the_threads,
    raise_file_limit,
    resident_bytes,
)
from engine.providers.registry import Registry
from engine.serving import Serving, model_rules, servable
from engine.sessions.accounts import Accounts
from engine.sessions.actor import Drain, SessionSettings, Switched
from engine.sessions.budgets import Budgets
from engine.sessions.ledger import Ledger
from engine.sessions.owners import owner_name
from engine.sessions.supervisor import InProcessCommands, Limits, Supervisor
from engine.status import StatusRoutes
from engine.strikes import Strikes
from engine.switching import Change, Refused, Switchboard
from engine.tracing import Tracing
from engine.version import product_version

log = get_logger(__name__)

SECRET_FILE = Path("var/auth-secret")

MOST_IMPORTS = 10
"""Imports that a log line names; the others are counted."""


STOPPED_WITHIN = 20.0
"""Seconds after the drain in which the process has ended: turns write their ends down, plugins and databases close."""

HURRIED_WITHIN = 4.0
"""Seconds from the second signal to the end of the process."""


LEFT_BEHIND_AFTER = 2.0
"""Seconds that tasks and threads which were left running have to end once the server has stopped."""


class CannotListen(Exception):
    """Raised when the address or port cannot be listened on; the message says which and why."""


class Engine:
    """One server. `start` may raise what makes a start impossible, each with a sentence for the operator."""

    def __init__(
        self, raw: RawConfig, installed: Mapping[str, Installed] | None = None, *, interrupt: bool = False
    ) -> None:
        self.raw = raw
        self.core: CoreSettings = read_core(raw)
        self.version = product_version()
        self._log_level = self.core.log.level
        find = installed_plugins if installed is None else (lambda: installed)
        loader = Loader(find(), self.core.plugins.enabled, self.core.plugins.required)
        self.databases = Databases(
            {"default": self.core.databases.default, **self.core.databases.named},
        )
        self.tools = ToolTable()
        self.shared = SharedResources()
        bus = self.core.bus
        self._loop_time = asyncio.get_running_loop().time
        self.bus = Bus(
            clock=self._loop_time,
            stream_bytes=bus.stream_bytes,
            memory=bus.memory,
            keep=bus.keep,
            answer_characters=self.core.limits.answer_characters,
        )
        self.tracing = Tracing()
        bounds = Limits(principal_streams=self.core.limits.principal_streams)
        self._sockets = SocketCount(self.core.limits.principal_sockets)
        self.supervisor = Supervisor(self.bus, limits=bounds, tracing=self.tracing)
        self.supervisor.gate.most = self.core.limits.waiting_turns
        self.registry = Registry(rules=model_rules(self.core), stats=self.supervisor.stats, tracing=self.tracing)
        self.registry.accounts = Accounts(self.supervisor)
        self.commands = InProcessCommands(self.supervisor)
        self.passes = SignedPasses(self._secret)
        self._loop_lag = LoopLag(self.supervisor.stats.late)
        self._trimming = Trimming()
        self.strikes = Strikes(
            self.supervisor.stats,
            self._loop_time,
            lambda: self.plugins.core.plugins.strikes,
            lambda: self.plugins.own,
            self._begin_strike_out,
        )
        self._blocking = BlockingWatch(
            lambda: self.plugins.owners, lambda: self.plugins.own, self.strikes.count, interrupt=interrupt
        )
        self._striking: set[asyncio.Task[None]] = set()
        self.http: Http | None = None
        self.probes: Probes | None = None
        self.keys: ApiKeys | None = None
        """The API keys, where callers need one."""
        self.port = 0
        self.serving = Serving(self.supervisor, self.registry, self.tools, self._own_routes)
        self.plugins = Switchboard(
            raw,
            self.core,
            loader,
            serving=self.serving,
            databases=self.databases,
            furnish=self._furnish,
            find=find,
            changed=self._plugins_changed,
        )
        self._runner: web.AppRunner | None = None
        self._stopped = False
        self._probing: asyncio.Task[None] | None = None

    @property
    def loader(self) -> Loader:
        """The plugins of now."""
        return self.plugins.loader

    # Start

    async def start(self) -> None:
        """Bring everything up, the port last."""
        self._blocking.start()
        try:
            self.judge()
            await self._open_databases()
            self._open_tracing()
            self.supervisor.rates = self._rates()
            self.probes = Probes(self.databases, self.supervisor.rates)
            self.http = self.serving.http = self._open_http()
            self.http.access_log = self.core.log.access
            self.swap()
            await self.supervisor.open()
            await self._enter_lifespans()
            self._loop_lag.start()
            self._trimming.start()
            await self._listen()
            self._blocking.serving()
        except BaseException:
            await self._give_up()
            raise
        self._log_start()
        # Apart from the start, which is over once the port is open: a probe may take seconds.
        self._probing = asyncio.create_task(self._warn_of_what_is_away(), name="first probes")

    async def _warn_of_what_is_away(self) -> None:
        assert self.probes is not None
        for line in await self.probes.lines():
            log.warning("not_ready", part=line.name, state=line.state, reason=line.detail)
        await self._warn_of_inner_imports(None)
        # Where the database is away, the lines have said so.
        with suppress(EngineError):
            if self.keys is not None and (void := await self.keys.void()):
                log.warning("api_keys_void", count=void, remedy=VOID_REMEDY)

    async def _warn_of_inner_imports(self, only: Iterable[str] | None) -> None:
        """Name the plugins that go past the public door; an upgrade of the engine may break them without a word."""
        names = None if only is None else set(only)
        found = await asyncio.to_thread(self.loader.inner_imports, names)
        for plugin, imports in found.items():
            log.warning("plugin_imports_internals", plugin=plugin, imports=imports[:MOST_IMPORTS], count=len(imports))

    async def _enter_lifespans(self) -> None:
        failed = await self.loader.enter_lifespans(self.core.plugins.start_timeout)
        if failed and self.serving.gathered is not None:
            # The others are not asked again: what they brought is what their lifespans have opened.
            self._place(self.serving.gathered.without(failed))

    async def _give_up(self) -> None:
        """Close what is open, and leave the word to the error that made the start impossible."""
        try:
            await self.stop(0)
        except Exception:
            log.exception("stop_failed")

    def judge(self) -> None:
        """All that can be said of configuration and plugins before anything is opened."""
        for judge in self.judges():
            judge()
        self.prepare_plugins()

    def judges(self) -> tuple[Callable[[], object], ...]:
        """What judges the engine's own settings; each raises `ConfigError`."""
        return (
            lambda: check_binding(
                self.core.server.host,
                self.core.auth.mode,
                self.raw.origin("auth.mode") or self.raw.origin("server.host"),
            ),
            self._check_extras,
            self._cross_origin,
        )

    def prepare_plugins(self) -> None:
        """Load plugins and judge their settings and every table's name; opens nothing."""
        self.loader.load(self.raw)
        check_tables(self.raw, self.loader.settings(self.raw), self.loader.off)
        self._furnish(self.loader, self.loader.parts)

    def _furnish(self, loader: Loader, names: Iterable[str]) -> None:
        """Give plugins what they may use."""
        for part in map(loader.parts.__getitem__, names):
            if part.plugin is not None:
                part.context = Context(
                    type(part.plugin),
                    loader.tables,
                    providers=self.registry,
                    commands=self.commands,
                    tools=self.tools,
                    passes=self.passes,
                    database=self.databases.database,
                    secret=self._derived_secret,
                    shared=self.shared,
                )

    # Data

    async def _open_databases(self) -> None:
        await open_tables(self.loader, self.databases, auto_upgrade=self.core.databases.auto_upgrade)
        default = self.databases.database()
        owner = owner_name()
        self.supervisor.budgets = self.registry.ledgers.purse = Budgets(default, owner, shared=not default.embedded)
        self.supervisor.ledger = Ledger(default, owner, embedded=default.embedded)

    # Tables

    def swap(self) -> None:
        """Ask the plugins what they bring and put the new tables in the place of the old; on a clash nothing changes."""
        self._place(servable(self.loader, self.loader.gather()))

    def _place(self, gathered: Gathered) -> None:
        self.serving.place(self.serving.build(self.core, self.loader, gathered))

    def _own_routes(self) -> list[tuple[str, Route]]:
        documents = Documents(
            self.version,
            lambda: self.http.routes if self.http is not None else RouteTable(()),
            lambda: self.supervisor.table,
            self._open_checks,
            lambda: self.supervisor.draining,
            self._about,
        )
        metrics = Metrics(self.supervisor.stats, self._standing)
        usage = UsageRoutes(self.databases.database())
        admin = AdminRoutes(self.plugins, self.reload)
        status = StatusRoutes(self.supervisor, self.registry, self._standing, lambda: self.http, self.checks)
        own = (
            *documents.routes(),
            *metrics.routes(),
            *usage.routes(),
            *stream_routes(self.supervisor),
            *admin.routes(),
            *status.routes(),
        )
        return [("engine", route) for route in own]

    def _about(self) -> About | None:
        """What the page at the root tells anybody: with keys, nothing of what only callers with one are told."""
        if self.core.auth.mode != "local":
            return None
        return About(self.features, parts(self.registry))

    def _standing(self) -> Standing:
        streams, held, held_bytes = self.bus.held
        sockets = list(self.http.sockets) if self.http is not None else []
        return Standing(
            version=self.version,
            streams=streams,
            held_streams=held,
            held_bytes=held_bytes,
            sockets=len(sockets) + (len(self.http.route_sockets) if self.http is not None else 0),
            waiting_commands=max((session.waiting for session, _ in sockets), default=0),
            reader_lag=max((lag for stream in self.bus.running() for lag in stream.lags), default=0),
            database_rows={each.name: each.writer.queued_rows for each in self.databases if each.is_open},
            breakers=self.registry.left_alone(),
            resident_bytes=resident_bytes(),
            body_bytes=self.http.room.taken if self.http is not None else 0,
            struck_out={name: why.reason for name, why in self.plugins.struck.items()},
        )

    async def checks(self) -> list[CheckLine]:
        """How every part stands, in full: for the operator."""
        probed = await self.probes.lines() if self.probes is not None else ()
        return [*probed, *self._plugin_checks()]

    async def _open_checks(self) -> list[CheckLine]:
        return [for_anybody(line) for line in await self.checks()]

    def _plugin_checks(self) -> list[CheckLine]:
        checks = self.serving.gathered.checks if self.serving.gathered else ()
        lines = check_lines(self.loader.parts.values(), checks, self.loader.faults)
        blocks = self.strikes.summary()
        return [*lines, CheckLine(name="event_loop", state="ok", detail=blocks)] if blocks else lines

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the plugins that are on."""
        return tuple(sorted(part.name for part in self.loader.parts.values() if part.on))

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that a route or a command of now asks for."""
        gathered = self.serving.gathered
        assert gathered is not None
        routes = [route for _, route in (*self._own_routes(), *gathered.routes)]
        asked = {route.scope for route in routes if route.scope is not None}
        return frozenset(asked | {command.scope for _, command in gathered.commands})

    async def _plugins_changed(self, change: Change) -> None:
        for name in change.started:
            self.strikes.forget(name)
        self._apply(self.plugins.core)
        if self.http is not None and (change.started or change.stopped):
            await self.http.sockets.tell(Switched(self.features))
        if change.started:
            await self._warn_of_inner_imports(change.started)

    def _apply(self, core: CoreSettings) -> None:
        """Let the settings of the engine that need no restart hold from now on."""
        limits = core.limits
        self._sockets.bound = limits.principal_sockets
        self.supervisor.limits = Limits(principal_streams=limits.principal_streams)
        self.supervisor.gate.most = limits.waiting_turns
        if self.supervisor.rates is not None:
            self.supervisor.rates.each = _each_minute(limits)
        for session, _ in self.http.sockets if self.http is not None else ():
            session.streams = limits.session_streams
        if self.http is not None:
            self.http.access_log = core.log.access
        if core.log.level != self._log_level:
            self._log_level = core.log.level
            configure(self.core.log.model_copy(update={"level": core.log.level}))

    async def reload(self) -> Change:
        """Read the configuration anew and go over to it; raises `Refused`, and then all is as it was."""
        try:
            raw = await asyncio.to_thread(self.raw.read_again)
        except ConfigError as error:
            raise Refused(f"nothing was changed: {error}") from None
        return await self.plugins.reload(raw)

    # Plugins that block

    def _begin_strike_out(self, plugin: str, why: StruckOut) -> None:
        if not self._stopped:
            task = asyncio.create_task(self._strike_out(plugin, why), name=f"switching off {plugin}")
            self._striking.add(task)
            task.add_done_callback(self._striking.discard)

    async def _strike_out(self, plugin: str, why: StruckOut) -> None:
        log.error("plugin_struck_out", plugin=plugin, reason=why.reason)
        try:
            await self.plugins.strike_out(plugin, why)
        except EngineError as error:
            log.error("plugin_not_switched_off", plugin=plugin, reason=error.message)

    # The port

    def _open_http(self) -> Http:
        server, limits = self.core.server, self.core.limits
        guard, cors = self._cross_origin()
        return Http(
            self.supervisor,
            self._identity(),
            bounds=Bounds(
                server.max_body,
                server.max_frame,
                server.ping_interval,
                server.max_upload,
                server.max_inflated,
                server.body_timeout,
                limits.uploads,
                limits.principal_uploads,
            ),
            session=self._session_settings,
            guard=guard,
            cors=cors,
            admit_socket=self._sockets.admit,
            rates=self.supervisor.rates,
            large=self._trimming.gone,
        )

    def _check_extras(self) -> None:
        """Raise `ConfigErrors` for settings whose library is not installed."""
        wanted = (
            ("limits.redis", self.core.limits.redis, "redis", "redis", "redis"),
            (
                "tracing.endpoint",
                self.core.tracing.endpoint,
                "opentelemetry.exporter",
                "opentelemetry-exporter-otlp-proto-http",
                "otel",
            ),
        )
        problems = [
            ConfigError(
                key=key,
                origin=self.raw.origin(key),
                message=f"needs the library {library}; install it with: pip install 'betterai-engine[{extra}]'",
            )
            for key, value, module, library, extra in wanted
            if value is not None and not _is_installed(module)
        ]
        if problems:
            raise ConfigErrors(problems)

    def _open_tracing(self) -> None:
        settings = self.core.tracing
        if settings.endpoint is not None:
            self.tracing.open(settings.endpoint, settings.service, self.version, settings.sample)

    def _rates(self) -> Rates:
        limits = self.core.limits
        return Rates(_each_minute(limits), limits.redis.get_secret_value() if limits.redis is not None else None)

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
            return LocalIdentity(self.passes)
        self.keys = ApiKeys(self.databases.database(), self._secret())
        return KeyIdentity(self.keys, self.passes)

    def _secret(self) -> bytes:
        return auth_secret(self.core.auth.secret, SECRET_FILE)

    def _derived_secret(self, purpose: str) -> bytes:
        return derived(self._secret(), purpose)

    def _session_settings(self) -> SessionSettings:
        server = self.core.server
        return SessionSettings(
            version=self.version,
            features=self.features,
            mailbox=server.mailbox,
            max_frame=server.max_frame,
            authenticate_within=server.authenticate_timeout,
            streams=self.plugins.core.limits.session_streams,
        )

    async def _listen(self) -> None:
        assert self.http is not None
        server = self.core.server
        try:
            strangers = Strangers(most_strangers(server.strangers), server.head_timeout, self.supervisor.stats)
            self._runner, self.port = await listen(self.http.application(), server.host, server.port, strangers)
        except OSError as error:
            why = error.strerror or str(error)
            raise CannotListen(
                f"cannot listen on {self._address(server.port)}: {why}; "
                "choose with server.host and server.port, or --host and --port"
            ) from None

    def _address(self, port: int) -> str:
        host = self.core.server.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def ignored_variables(self) -> Mapping[str, str]:
        """Environment variables that look like settings and set nothing, each with the one that was meant."""
        of_plugins = {name: model for part in self.loader.parts.values() for name, model in part.settings.items()}
        return ignored_variables(self.raw, {**CORE_TABLES, **of_plugins})

    def _log_start(self) -> None:
        for name, meant in self.ignored_variables().items():
            log.warning("environment_ignored", variable=name, remedy=f"it sets nothing; write {meant}")
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
        await self._trimming.stop()
        self._blocking.stop()
        for task in self._striking:
            task.cancel()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self.probes is not None:
            await self.probes.close()
        seconds = self.core.server.drain if drain is None else drain
        # Closed from the last to the first, each whatever the one before raised.
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.tracing.close)
            closing.push_async_callback(self.databases.close)
            if self.supervisor.budgets is not None:
                closing.push_async_callback(self.supervisor.budgets.close)
            if self.supervisor.rates is not None:
                closing.push_async_callback(self.supervisor.rates.close)
            closing.push_async_callback(self.shared.close)
            closing.push_async_callback(self.plugins.close)
            closing.push_async_callback(self.supervisor.close)
            if self._runner is not None:
                closing.push_async_callback(self._runner.cleanup)
            if self.http is not None:
                closing.push_async_callback(self.http.sockets.close)
                closing.push_async_callback(self.http.route_sockets.close)
                await self.http.sockets.tell(Drain(seconds))
            await self.supervisor.drain(seconds)


def _each_minute(limits: LimitsSettings) -> KeyLimits:
    return KeyLimits(requests_per_minute=limits.requests_per_minute, tokens_per_minute=limits.tokens_per_minute)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is not there
        return False


async def _reload_when_asked(engine: Engine, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await engine.reload()
        except EngineError as error:
            log.error("reload_refused", reason=error.message)
        except Exception:
            log.exception("reload_failed")


async def serve(raw: RawConfig, blame: Blame | None = None, opened: Callable[[Engine], None] | None = None) -> None:
    """Run a server until SIGTERM or SIGINT; a second signal stops it without waiting for its turns.

    `blame` is told whom to ask for the plugin of an error that leaves the event loop. `opened` is called once the server
    takes requests.
    """
    raise_file_limit()
    hurry_the_threads()
    engine = Engine(raw, interrupt=True)
    if blame is not None:
        blame.owners = lambda: engine.plugins.owners
    configure(engine.core.log)
    last = LastWord(asyncio.get_running_loop())
    signals = StopSignals(
        stopping=lambda: last.within(engine.core.server.drain + STOPPED_WITHIN),
        hurrying=lambda: last.within(HURRIED_WITHIN),
    )
    signals.listen()
    if not await done_before(signals.stop, engine.start()):
        log.info("stopped", during="start")
        return
    if opened is not None:
        opened(engine)
    calm_the_collector()
    reloading = asyncio.create_task(_reload_when_asked(engine, signals.reload), name="reload")
    await signals.stop.wait()
    reloading.cancel()
    log.info("draining", seconds=engine.core.server.drain, turns=engine.supervisor.running)
    stopping = asyncio.ensure_future(engine.stop())
    hurrying = asyncio.ensure_future(signals.hurry.wait())
    await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
    if signals.hurry.is_set():
        engine.supervisor.hurry()
    await stopping
    hurrying.cancel()
    log.info("stopped")
    # All is written down; whatever a plugin has left running holds up nobody.
    last.within(LEFT_BEHIND_AFTER, status=0)
