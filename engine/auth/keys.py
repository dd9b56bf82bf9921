"""API keys: made, listed and revoked by the operator, checked for every caller."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, func, select

from engine.api.columns import merged
from engine.api.data import Database, Write
from engine.api.errors import InvalidRequest, NotFound, Unauthenticated
from engine.api.identity import KeyLimits, Principal
from engine.auth.key_text import is_public_id, new_key, public_id
from engine.auth.recent import Recent
from engine.auth.secret import derived
from engine.db.schema import api_keys

REMEMBERED = 10_000
"""Verdicts kept in memory, of each kind."""

ACCEPTED_SECONDS = 20.0
"""For how long a key is taken without asking the database: so soon a revocation elsewhere is known. What is open by then
is shut a few seconds later (`http.doors`), 30 seconds after the revocation at the latest."""

REFUSED_SECONDS = 5.0

# Lookups at a time. With fewer than the database has readers, a flood of wrong keys leaves some to everybody else.
_LANES = 2

MARK_LENGTH = 16

VOID_REMEDY = (
    "they were made under another auth.secret and nobody can use them: set the former secret again (auth.secret, or the file "
    "var/auth-secret), or make new keys and revoke these"
)

_PRINCIPAL_LENGTH = 64
_NAME_LENGTH = 200
_SCOPE = re.compile(r"\*|[a-z][a-z0-9_.:-]{0,63}")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key: everything but its secret. `id` stands in its text too."""

    id: str
    principal: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    limits: KeyLimits
    revoked_at: datetime | None = None
    void: bool = False
    """It was made under another secret than the one of now, so that nobody can use it. False also where that is unknown."""


class ApiKeys:
    """The keys of one server, in its table `api_keys`, as HMAC-SHA-256 digests under `secret`.

    Verdicts are remembered by digest, so no key stays in memory; `clock` counts seconds and never goes back.
    """

    def __init__(self, database: Database, secret: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._secret = secret
        self._mark = derived(secret, "the mark of API keys").hex()[:MARK_LENGTH]
        self._clock = clock
        # Apart from each other, so that a flood of wrong keys does not push out the right ones.
        self._accepted: Recent[str, Principal] = Recent(REMEMBERED, ACCEPTED_SECONDS, clock)
        self._refused: Recent[str, bool] = Recent(REMEMBERED, REFUSED_SECONDS, clock)
        self._digests: Recent[str, str] = Recent(REMEMBERED, ACCEPTED_SECONDS, clock)
        """Digests of keys that are asked for by their public id; a key never changes its digest."""
        self._lanes = tuple(asyncio.Lock() for _ in range(_LANES))

    async def create(
        self, principal: str, name: str, scopes: Iterable[str] = ("*",), limits: KeyLimits | None = None
    ) -> tuple[str, KeyInfo]:
        """Make a key that acts for `principal` and return its text, which cannot be had again.

        Raises InvalidRequest with the field at fault.
        """
        granted = _checked_scopes(scopes)
        check_principal(principal)
        _check_text("name", name, _NAME_LENGTH, spaces=True)
        id, key = new_key()
        info = KeyInfo(id, principal, name, granted, datetime.now(UTC), limits or KeyLimits())
        values = {
            "id": id,
            "principal": principal,
            "name": name,
            "digest": self._digest(key),
            "scopes": list(granted),
            "created_at": info.created_at,
            "limits": _told(info.limits),
            "secret_mark": self._mark,
        }
        await self._database.submit([Write(api_keys, "insert", values)])
        return key, info

    async def list(self, principal: str | None = None) -> list[KeyInfo]:
        """All keys, the revoked ones too, oldest first; those of one principal where one is named."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if principal is not None:
            query = query.where(api_keys.c.principal == principal)
        return [self._info(row) for row in await self._rows(query)]

    async def void(self) -> int:
        """How many keys that nobody has revoked were made under another secret: their holders are refused."""
        others = (api_keys.c.secret_mark.is_not(None), api_keys.c.secret_mark != self._mark)
        async with self._database.read() as connection:
            count = select(func.count()).select_from(api_keys).where(api_keys.c.revoked_at.is_(None), *others)
            return int(await connection.scalar(count) or 0)

    async def revoke(self, id: str) -> KeyInfo:
        """Make a key void for good: in this process at once, in others within `ACCEPTED_SECONDS`.

        `id` is its public id. Revoking twice keeps the first time. Raises NotFound.
        """
        row = await self._found(id)
        # In the key's lane, so that no lookup under way can put the old verdict back.
        async with self._lane(row.digest):
            try:
                if row.revoked_at is None:
                    now = {"revoked_at": datetime.now(UTC)}
                    await self._database.submit([Write(api_keys, "update", now, {"id": id, "revoked_at": None})])
            finally:
                self._accepted.drop(row.digest)
        return self._info(await self._row(id) or row)

    async def limit(self, id: str, limits: KeyLimits) -> KeyInfo:
        """Change the bounds of a key: those that are given, 0 takes one away; raises NotFound.

        Another process takes them up within `ACCEPTED_SECONDS`.
        """
        row = await self._found(id)
        given = {name: value or None for name, value in asdict(limits).items() if value is not None}
        changed = {"limits": merged(api_keys.c.limits, given, self._database.dialect)}
        async with self._lane(row.digest):
            try:
                await self._database.submit([Write(api_keys, "update", changed, {"id": id})])
            finally:
                self._accepted.drop(row.digest)
        return self._info(await self._found(id))

    async def verify(self, key: str) -> Principal:
        """Whom the key acts for.

        Raises Unauthenticated, with one message for keys that are unknown, revoked or wrong, and DatabaseUnavailable
        when it can be said neither from memory nor from the database.
        """
        return await self._verified(public_id(key), self._digest(key))

    async def standing(self, id: str) -> Principal:
        """Whom the key of this public id acts for now, as `verify` would say; for what was issued to its holder."""
        digest = self._digests.get(id)
        if digest is None:
            row = await self._row(id) if is_public_id(id) else None
            if row is None:
                raise _not_accepted()
            digest = row.digest
            self._digests.put(id, digest)
        return await self._verified(id, digest)

    async def _verified(self, id: str, digest: str) -> Principal:
        principal = self._remembered(digest)
        if principal is None:
            async with self._lane(digest):
                # The one before in this lane may have asked for the same key.
                principal = self._remembered(digest) or await self._look_up(id, digest)
        return principal

    def _remembered(self, digest: str) -> Principal | None:
        principal = self._accepted.get(digest)
        if principal is None and self._refused.get(digest):
            raise _not_accepted()
        return principal

    async def _look_up(self, id: str, digest: str) -> Principal:
        asked_at = self._clock()
        row = await self._row(id)
        known = row is not None and hmac.compare_digest(row.digest.encode(), digest.encode())
        if row is None or not known or row.revoked_at is not None:
            self._refused.put(digest, True)
            raise _not_accepted()
        principal = Principal(row.principal, frozenset(row.scopes), row.id, _limits(row))
        self._accepted.put(digest, principal, since=asked_at)
        self._digests.put(id, digest)
        return principal

    def _info(self, row: Row[Any]) -> KeyInfo:
        void = row.secret_mark not in (None, self._mark)
        scopes = tuple(row.scopes)
        return KeyInfo(row.id, row.principal, row.name, scopes, row.created_at, _limits(row), row.revoked_at, void)

    def _lane(self, digest: str) -> asyncio.Lock:
        return self._lanes[hash(digest) % _LANES]

    def _digest(self, key: str) -> str:
        return hmac.digest(self._secret, key.encode(), "sha256").hex()

    async def _found(self, id: str) -> Row[Any]:
        row = await self._row(id) if is_public_id(id) else None
        if row is None:
            # Does not repeat the id: somebody may have put in the whole key.
            raise NotFound("no API key has this id; `betterai keys list` shows the ids", field="id")
        return row

    async def _row(self, id: str) -> Row[Any] | None:
        rows = await self._rows(select(api_keys).where(api_keys.c.id == id))
        return rows[0] if rows else None

    async def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows


def _limits(row: Row[Any]) -> KeyLimits:
    """The bounds as the row holds them; names of a later version are passed over."""
    told = row.limits or {}
    return KeyLimits(**{field.name: told.get(field.name) for field in fields(KeyLimits)})


def _told(limits: KeyLimits) -> dict[str, int] | None:
    """The bounds that there are; None for none."""
    return {name: bound for name, bound in asdict(limits).items() if bound} or None


def _not_accepted() -> Unauthenticated:
    return Unauthenticated("the API key is not accepted: it is unknown or was revoked")


def check_principal(name: str) -> None:
    """Raises `InvalidRequest` for a name that no principal can have."""
    _check_text("principal", name, _PRINCIPAL_LENGTH, spaces=False)


def _check_text(field: str, text: str, length: int, *, spaces: bool) -> None:
    printable = text.isprintable() and text == text.strip() and (spaces or " " not in text)
    if not printable or not 1 <= len(text) <= length:
        kind = "printable characters" if spaces else "printable characters without spaces"
        raise InvalidRequest(f"the {field} of a key has 1 to {length} {kind}", field=field)


def _checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """In order and each once; a single text is refused, as its letters would pass for scopes."""
    granted = () if isinstance(scopes, str) else tuple(sorted(set(scopes)))
    if not granted or not all(_SCOPE.fullmatch(scope) for scope in granted):
        raise InvalidRequest(
            'scopes is a list of at least one name such as "chat", in lower case, or "*" for everything', field="scopes"
        )
    return granted
