"""Who is connected for longer than a moment: each is shut out soon after their key was revoked or lost a scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.api.errors import EngineError, Unauthenticated
from engine.api.identity import Principal
from engine.auth.identity import Identity
from engine.log import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 5.0
"""From one look at the keys to the next. With the time for which a verdict is remembered (`auth.keys.ACCEPTED_SECONDS`)
it makes the 30 seconds within which a revoked key opens nothing any more."""

LOST = "the key that opened this was revoked or lost a scope"


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One connection that is held open. `shut` ends it and says why."""

    principal: Principal
    shut: Callable[[str], None]


class Doors:
    """Every open socket and every request under way, by the key that opened it.

    Who only reads, or only sends sound, gives no command at which its key could be judged, so the keys are looked at here.
    `running` are the principals of turns that run, and `stop` ends those that a key started: a key that was revoked spends
    nothing more.
    """

    def __init__(
        self, identity: Identity, running: Callable[[], Iterable[Principal]], stop: Callable[[str, EngineError], None]
    ) -> None:
        self._identity = identity
        self._running = running
        self._stop = stop
        self._open: set[Door] = set()
        self._watch: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, principal: Principal, shut: Callable[[str], None]) -> Iterator[None]:
        """Have this connection shut once its key is void; where nobody needs a key it is not looked at."""
        if principal.key is None:
            yield
            return
        door = Door(principal, shut)
        self._open.add(door)
        try:
            yield
        finally:
            self._open.discard(door)

    def open(self) -> None:
        """Begin to look."""
        self._watch = asyncio.create_task(self._look_again(), name="keys of open sockets")

    async def close(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.check()
            except Exception:
                log.exception("keys_of_sockets_not_checked")

    async def check(self) -> None:
        """Shut out whoever has lost their key, or a scope of it.

        A database that is away says nothing of any key: who was let in stays until it is there again.
        """
        now: dict[str, Principal | None] = {}
        held = [*(door.principal for door in self._open), *self._running()]
        for principal in held:
            if principal.key is None or principal.key in now:
                continue
            try:
                now[principal.key] = await self._identity.standing(principal)
            except Unauthenticated:
                now[principal.key] = None
            except EngineError:
                break
        for key, standing in now.items():
            if standing is None:
                self._stop(key, Unauthenticated("the key that started this turn was revoked"))
        shut = [door for door in self._open if _has_lost(door.principal, now)]
        for door in shut:
            door.shut(LOST)
        if shut:
            keys = sorted({door.principal.key or "" for door in shut})
            log.info("connections_shut", keys=keys, count=len(shut), reason=LOST)


def _has_lost(held: Principal, now: dict[str, Principal | None]) -> bool:
    if held.key not in now:
        return False
    standing = now[held.key]
    return standing is None or not all(standing.may(scope) for scope in held.scopes)
