"""Whatever turns do, what a budget counts is the sum of their ends, on every server of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Connection, make_url, select

from engine.api.chat import ChatDeltas, ChatRequest, Finish, Message, TextPart
from engine.api.commands import Body, Command, Request, Serve
from engine.api.embedding import Embedded, EmbeddingRequest
from engine.api.errors import EngineError, ProviderRefused, ProviderUnavailable
from engine.api.events import TextDelta, Usage
from engine.api.identity import Principal
from engine.api.providers import ModelInfo, Price, ProviderRole
from engine.api.streams import Writer
from engine.api.transcription import Segment, TranscriptionRequest
from engine.bus.bus import Bus
from engine.bus.stream import Stream
from engine.db.databases import Database
from engine.db.schema import metadata, turns
from engine.providers import Catalogue, Registry, ResiliencePolicy
from engine.providers.estimating import most_of_text
from engine.providers.registry import ModelRules
from engine.sessions.accounts import Accounts
from engine.sessions.budget_rows import Budget, set_budget, standings
from engine.sessions.budgets import Budgets
from engine.sessions.ledger import Ledger, TurnRecord
from engine.sessions.supervisor import InProcessCommands, Supervisor
from engine.sessions.table import CommandTable
from tests.engine.sessions.leases import Hand

ANN = Principal("ann", key="bai_one")
PRICE = Price(input=Decimal(1), output=Decimal(2), characters=Decimal(3), minute=Decimal(4))
TOKENS, DOLLARS = Decimal(10**9), Decimal(10**6)

Path_ = Literal[
    "ok", "silent", "refused", "down", "cut", "held", "steps", "speech", "heard", "nested", "crash", "nothing"
]
PATHS: Sequence[Path_] = (
    "ok", "silent", "refused", "down", "cut", "held", "steps", "speech", "heard", "nested", "crash", "nothing",
)  # fmt: skip


class Spending(Body):
    """Body of a turn that takes one of the paths."""

    path: str


class Vendor:
    """A model that answers, refuses, or breaks, as the question says."""

    role: ClassVar[ProviderRole] = "chat"
    unavailable = None
    default_model = None
    own_address = True

    def __init__(self, name: str) -> None:
        self.name = name

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDeltas, None]:
        path = request.messages[0].text
        if path == "refused":
            raise ProviderRefused("no")
        if path == "down" and self.name == "first":
            raise ProviderUnavailable("away", retry_after=0.0)
        yield [Usage(input_tokens=7)]
        yield TextDelta("Hello you")
        if path == "held":
            await asyncio.Event().wait()
        if path == "cut":
            raise ProviderUnavailable("cut")
        if path != "silent":
            yield [Usage(input_tokens=33, output_tokens=20), Finish("stop")]


class Vectors:
    """A model for embeddings."""

    role: ClassVar[ProviderRole] = "embedding"
    name = "vectors"
    unavailable = None
    default_model = None
    own_address = True

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        self.asked.set()
        match request.inputs[0]:
            case "down":
                raise ProviderRefused("no")
            case "broke off":
                error = ProviderUnavailable("cut", retryable=False)
                error.begun = True
                raise error
            case "odd":
                return Embedded(vectors=())
            case "held":
                await asyncio.Event().wait()
            case "empty":
                return Embedded(vectors=((1.0,),), usage=Usage())
        return Embedded(vectors=((1.0,),), usage=Usage(input_tokens=5))


class Ears:
    """A model that listens: a recording as a whole, or second by second."""

    role: ClassVar[ProviderRole] = "transcription"
    name = "ears"
    unavailable = None
    default_model = None
    own_address = True

    def __init__(self) -> None:
        self.sent = 0

    async def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        whole = [piece async for piece in audio]
        self.sent += len(whole)
        if request.prompt == "refused":
            raise ProviderRefused("no")
        yield Segment(text="hello")

    async def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        async for _ in audio:
            self.sent += 1
            yield Segment(text="hello")


async def sound(seconds: int) -> AsyncIterator[bytes]:
    for _ in range(seconds):
        yield bytes(2 * 16_000)


class Server:
    """One process: its turns, its rows and what it counts."""

    def __init__(self, database: Database, owner: str) -> None:
        self.database = database
        self.seconds = 0.0
        self.vendor = Vendor("first")
        self.vectors = Vectors()
        self.ears = Ears()
        entries = [ModelInfo(id=f"{name}/m", provider=name, model="m", price=PRICE) for name in ("first", "second")]
        entries.append(ModelInfo(id="vectors/m", provider="vectors", role="embedding", model="m", price=PRICE))
        entries.append(ModelInfo(id="ears/m", provider="ears", role="transcription", model="m", price=PRICE))
        self.registry = Registry(
            [("test", self.vendor), ("test", Vendor("second")), ("test", self.vectors), ("test", self.ears)],
            Catalogue(entries),
            ModelRules(policy=ResiliencePolicy(retries=1, breaker_failures=1000), fallbacks={"first/m": ("second/m",)}),
        )
        self.budgets = self.registry.ledgers.purse = Budgets(database, owner, shared=True, clock=lambda: self.seconds)
        self.hand = Hand()
        self.supervisor = Supervisor(
            Bus(clock=time.monotonic), ledger=Ledger(database, owner, embedded=False, clock=self.hand)
        )
        self.supervisor.budgets = self.budgets
        self.supervisor.table = CommandTable([("test", Command(name="spend", body=Spending, prepare=self._prepare))])
        self.registry.accounts = Accounts(self.supervisor)
        self.commands = InProcessCommands(self.supervisor)

    async def _prepare(self, request: Request[Spending]) -> Serve:
        path = request.body.path

        async def serve(stream: Writer) -> None:
            await self._serve(path, stream)

        return Serve(serve=serve, model="first/m", keep=path != "silent")

    async def _serve(self, path: str, stream: Writer) -> None:
        if path == "crash":
            raise RuntimeError("a fault of the server's own")
        if path == "heard":
            self.registry.ledgers.count(stream, Usage(seconds=6.0), Decimal("0.4"))
        elif path.startswith("ears"):
            _, how, seconds = path.split()
            asked = TranscriptionRequest(model="m", prompt=how)
            model = self.registry.transcription("ears/m")
            listen = model.live if how == "live" else model.file
            async for _ in listen(asked, sound(int(seconds)), stream):
                pass
        elif path == "nested":
            await (await self.commands.start(ANN, "spend", {"path": "ok"})).ended()
        elif path != "nothing":
            for _ in range(2 if path == "steps" else 1):
                ask = ChatRequest(
                    model="first/m", messages=(Message(role="user", parts=(TextPart(path),)),), max_output_tokens=100
                )
                await self.registry.chat("first/m").ask(
                    ask, stream, lambda deltas: stream.extend(deltas if isinstance(deltas, Sequence) else [deltas])
                )
            if path == "speech":
                await self.registry.ledgers.buy(stream, Usage(characters=9), Decimal("0.000027"))

    async def run(self, path: str, key: str | None) -> None:
        found = await self.supervisor.start(ANN, "spend", {"path": path}, key=key)
        if isinstance(found, TurnRecord):
            return
        if path == "held":
            await begun(self, found)
            await self.supervisor.cancel(ANN, found.id)
        await self.supervisor.reader(found).ended()

    async def embed(self, text: str) -> None:
        try:
            await self.registry.embedding("vectors/m").embed(EmbeddingRequest(model="m", inputs=(text,)), ANN)
        except EngineError:
            pass

    async def left(self) -> tuple[int | None, Decimal | None]:
        """What a new turn could put aside here."""
        self.seconds += 60
        await self.budgets.admit(ANN, "probe")
        try:
            return self.budgets.room("probe")
        finally:
            self.budgets.end("probe", None, None)


async def begun(server: Server, stream: Stream) -> None:
    """Return when the stream has a word of the answer, or its end."""
    with closing(server.supervisor.reader(stream)) as reader:
        async for _, event in reader:
            if isinstance(event, TextDelta):
                return


async def ends(database: Database) -> tuple[int, Decimal]:
    """What the terminal events of all turns say together."""
    await database.submit([])
    async with database.read() as connection:
        rows = (await connection.execute(select(turns.c.ended).where(turns.c.status != "running"))).scalars().all()
    used = [row["usage"] for row in rows if row.get("usage")]
    tokens = sum(each.get("input_tokens", 0) + each.get("output_tokens", 0) for each in used)
    return tokens, sum((Decimal(row["cost"]["amount"]) for row in rows if row.get("cost")), Decimal(0))


async def agree(database: Database, servers: Sequence[Server]) -> None:
    """Every server counts what the ends say, and nothing is put aside any more."""
    tokens, cost = await ends(database)
    for server in servers:
        assert await server.left() == (int(TOKENS) - tokens, DOLLARS - cost)
        assert not server.budgets._held
    for standing in await standings(database, datetime.now(UTC)):
        assert standing.held == 0
        assert standing.spent == (tokens if standing.budget.unit == "tokens" else cost)


async def play(steps: Sequence[tuple[Any, ...]], path: Path) -> None:
    database = Database("default", _url(path), max_queued_rows=1000, exclusive=False)
    await database.open()
    try:
        await database.run(_create)
        for period in ("day", "month"):
            await set_budget(database, Budget("principal:ann", period, "tokens", TOKENS))
            await set_budget(database, Budget("key:bai_one", period, "cost", DOLLARS))
        servers = [Server(database, "one-0"), Server(database, "two-0")]
        for number, (what, at, keyed) in enumerate(steps):
            server = servers[at]
            if what == "restart":
                servers[at] = Server(database, f"{at}-{number}")
            elif what == "kill":
                await _kill(server)
                servers[at] = Server(database, f"{at}-{number}")
                assert server.supervisor.ledger is not None and servers[at].supervisor.ledger is not None
                await servers[at].hand.wait(servers[at].supervisor.ledger)
                await servers[at].supervisor.ledger.reap(lambda command: None)
            elif what == "embed":
                await server.embed("down" if keyed else "a word")
            else:
                await asyncio.gather(*(server.run(what, f"k{number}" if keyed else None) for _ in range(2)))
            await agree(database, servers)
    finally:
        await database.close()


async def _kill(server: Server) -> None:
    """A turn that has begun to answer, and whose process writes nothing any more; its lease has run out."""
    found = await server.supervisor.start(ANN, "spend", {"path": "held"})
    assert isinstance(found, Stream)
    await begun(server, found)
    turn = server.supervisor.turn(ANN, found.id)
    assert turn is not None and turn._task is not None
    turn._ending = True
    turn._task.cancel()
    await asyncio.gather(turn._task, return_exceptions=True)
    await server.database.run(_let_leases_run_out)


def _let_leases_run_out(connection: Connection) -> None:
    with connection.begin():
        connection.execute(turns.update().values(lease_until=datetime(2020, 1, 1, tzinfo=UTC)))


def _create(connection: Connection) -> None:
    with connection.begin():
        metadata.create_all(connection)


def _url(path: Path) -> URL:
    return make_url(f"sqlite+aiosqlite:///{path}")


STEPS = st.lists(
    st.tuples(st.sampled_from([*PATHS, "embed", "restart", "kill"]), st.integers(0, 1), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_what_is_counted_is_the_sum_of_all_ends(tmp_path_factory: Any, steps: list[tuple[str, int, bool]]) -> None:
    asyncio.run(play(steps, tmp_path_factory.mktemp("spending") / "turns.db"))


def test_every_path_is_counted_once_by_both_servers(tmp_path: Path) -> None:
    steps = [
        (path, number % 2, number % 3 == 0) for number, path in enumerate([*PATHS, "embed", "kill", "restart", "ok"])
    ]
    asyncio.run(play(steps, tmp_path / "turns.db"))


@pytest.mark.parametrize("text", ["odd", "held", "empty", "broke off"])
def test_an_embedding_that_went_out_and_was_cut_off_counts(tmp_path: Path, text: str) -> None:
    asyncio.run(_embed_and_count(tmp_path / "betterai.db", text))


async def _embed_and_count(path: Path, text: str) -> None:
    database = Database("default", _url(path), max_queued_rows=1000, exclusive=False)
    await database.open()
    try:
        await database.run(_create)
        await set_budget(database, Budget("principal:ann", "day", "tokens", TOKENS))
        server = Server(database, "one-0")
        task = asyncio.create_task(server.embed(text))
        if text == "held":
            await server.vectors.asked.wait()
            task.cancel()
        await asyncio.wait({task})
        left, _ = await server.left()
        assert left == int(TOKENS) - most_of_text(text) - 1
        assert await ends(database) != (0, Decimal(0))
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("path", "cost", "sent"),
    [
        ("ears file 6", "0.4", 6),
        ("ears file 60", "0", 0),
        ("ears refused 6", "0", 6),
        ("ears live 6", "0.4", 6),
        ("ears live 60", "0.8", 12),
    ],
)
def test_what_is_heard_never_passes_a_budget(tmp_path: Path, path: str, cost: str, sent: int) -> None:
    asyncio.run(_hear_and_count(tmp_path / "betterai.db", path, Decimal(cost), sent))


async def _hear_and_count(path: Path, what: str, cost: Decimal, sent: int) -> None:
    database = Database("default", _url(path), max_queued_rows=1000, exclusive=False)
    await database.open()
    try:
        await database.run(_create)
        await set_budget(database, Budget("principal:ann", "day", "cost", Decimal("0.85")))
        server = Server(database, "one-0")
        await server.run(what, None)
        assert await server.left() == (None, Decimal("0.85") - cost)
        assert server.ears.sent == sent
        assert (await ends(database))[1] == cost
    finally:
        await database.close()
