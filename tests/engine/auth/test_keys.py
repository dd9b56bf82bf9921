"""API keys: shown once, stored as digests, void when revoked."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from engine.api.data import Write
from engine.api.errors import InvalidRequest, NotFound, Unauthenticated
from engine.api.identity import KeyLimits, Principal
from engine.auth.keys import ACCEPTED_SECONDS, ApiKeys
from engine.db.databases import Database
from engine.db.schema import api_keys
from tests.engine.auth.clock import Clock

SECRET = b"a secret for the tests"


@pytest.fixture
def keys(tables: Database, clock: Clock) -> ApiKeys:
    return ApiKeys(tables, SECRET, clock=clock)


def other(key: str) -> str:
    """A key with the same public id and another secret."""
    return key[:-1] + ("A" if key[-1] != "A" else "B")


async def refusal(keys: ApiKeys, key: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await keys.verify(key)
    return refused.value.message


async def test_a_key_stands_for_its_principal_with_its_scopes(keys: ApiKeys) -> None:
    key, info = await keys.create("alice", "laptop", ["models", "chat", "chat"])
    assert await keys.verify(key) == Principal("alice", frozenset({"chat", "models"}), info.id)
    assert info.scopes == ("chat", "models")


async def test_a_key_names_itself_and_holds_256_random_bits(keys: ApiKeys) -> None:
    key, info = await keys.create("alice", "laptop")
    assert re.fullmatch(rf"bai_{info.id}_[A-Za-z0-9_-]{{43}}", key)
    assert key != (await keys.create("alice", "laptop"))[0]


async def test_every_server_with_the_secret_takes_the_key(keys: ApiKeys, tables: Database) -> None:
    key, _ = await keys.create("alice", "laptop")
    assert (await ApiKeys(tables, SECRET).verify(key)).id == "alice"
    await refusal(ApiKeys(tables, b"another secret of the tests"), key)


async def test_keys_of_another_secret_are_known_to_be_void(keys: ApiKeys, tables: Database) -> None:
    _, mine = await keys.create("alice", "laptop")
    _, revoked = await keys.create("alice", "old laptop")
    await keys.revoke(revoked.id)
    other = ApiKeys(tables, b"another secret of the tests")
    _, theirs = await other.create("bob", "phone")
    assert {info.id for info in await keys.list() if info.void} == {theirs.id}
    assert {info.id for info in await other.list() if info.void} == {mine.id, revoked.id}
    assert (await keys.void(), await other.void()) == (1, 1)


async def test_a_key_of_an_earlier_version_has_no_mark_and_is_taken(keys: ApiKeys, tables: Database) -> None:
    key, info = await keys.create("alice", "laptop")
    await tables.submit([Write(api_keys, "update", {"secret_mark": None}, {"id": info.id})])
    assert (await keys.verify(key)).id == "alice"
    assert (await keys.void(), [each.void for each in await keys.list()]) == (0, [False])


async def test_no_part_of_the_secret_is_stored(keys: ApiKeys, tables: Database) -> None:
    key, info = await keys.create("alice", "laptop")
    async with tables.read() as connection:
        row = (await connection.execute(select(api_keys))).one()
    secret = key.removeprefix(f"bai_{info.id}_")
    assert secret not in repr(tuple(row))
    assert re.fullmatch("[0-9a-f]{64}", row.digest)
    assert secret not in repr(info)


async def test_keys_are_listed_oldest_first_and_by_principal(keys: ApiKeys) -> None:
    made = [(await keys.create(who, f"key of {who}"))[1] for who in ("alice", "bob", "alice")]
    assert await keys.list() == made
    assert await keys.list("alice") == [made[0], made[2]]
    assert await keys.list("nobody") == []


async def test_a_listed_key_tells_when_it_was_made_and_revoked(keys: ApiKeys) -> None:
    before = datetime.now(UTC)
    _, info = await keys.create("alice", "laptop")
    await keys.revoke(info.id)
    (listed,) = await keys.list()
    assert listed.revoked_at is not None
    assert before <= listed.created_at <= listed.revoked_at <= before + timedelta(minutes=1)


async def test_a_revoked_key_is_refused_at_once(keys: ApiKeys) -> None:
    key, info = await keys.create("alice", "laptop")
    await keys.verify(key)
    await keys.revoke(info.id)
    assert "not accepted" in await refusal(keys, key)


async def test_a_key_that_another_process_revoked_is_refused_within_its_time(
    keys: ApiKeys, tables: Database, clock: Clock
) -> None:
    key, info = await keys.create("alice", "laptop")
    await keys.verify(key)
    await ApiKeys(tables, SECRET).revoke(info.id)
    clock.now += ACCEPTED_SECONDS - 0.1
    await keys.verify(key)
    clock.now += 0.1
    await refusal(keys, key)
    assert ACCEPTED_SECONDS <= 30


async def test_revoking_one_key_leaves_the_others(keys: ApiKeys) -> None:
    kept, _ = await keys.create("alice", "laptop")
    _, lost = await keys.create("alice", "phone")
    await keys.revoke(lost.id)
    assert (await keys.verify(kept)).id == "alice"


async def test_revoking_twice_keeps_the_first_time(keys: ApiKeys) -> None:
    _, info = await keys.create("alice", "laptop")
    first = await keys.revoke(info.id)
    assert first.revoked_at is not None
    assert await keys.revoke(info.id) == first


@pytest.mark.parametrize("id", ["", "aaaaaaaaaaaa", "bai_" + "a" * 12 + "_" + "s" * 43, "\udcff", "x" * 10_000])
async def test_an_unknown_id_cannot_be_revoked_and_is_not_repeated(keys: ApiKeys, id: str) -> None:
    with pytest.raises(NotFound, match="betterai keys list") as missing:
        await keys.revoke(id)
    assert missing.value.field == "id"
    assert not id or id not in missing.value.message


async def test_unknown_wrong_and_revoked_keys_are_refused_alike(keys: ApiKeys) -> None:
    live, _ = await keys.create("alice", "laptop")
    dead, info = await keys.create("alice", "phone")
    await keys.revoke(info.id)
    unknown = f"bai_{'a' * 12}_{'s' * 43}"
    assert len({await refusal(keys, key) for key in (dead, unknown, other(live), other(dead))}) == 1


@pytest.mark.parametrize(
    "key",
    [
        "",
        "hunter2",
        "Bearer x",
        "sk-" + "a" * 48,
        f"bai_{'a' * 12}_{'s' * 42}",
        f"bai_{'a' * 12}_{'s' * 43}\n",
        "ß" * 60,
    ],
)
async def test_what_is_no_key_is_told_the_form_and_not_repeated(keys: ApiKeys, key: str) -> None:
    message = await refusal(keys, key)
    assert "bai_<id>_<secret>" in message
    assert not key or key not in message


@pytest.mark.parametrize(
    ("field", "principal", "name", "scopes"),
    [
        ("principal", "", "laptop", ["*"]),
        ("principal", "a b", "laptop", ["*"]),
        ("principal", "alice\n", "laptop", ["*"]),
        ("principal", "a" * 65, "laptop", ["*"]),
        ("name", "alice", "", ["*"]),
        ("name", "alice", " laptop", ["*"]),
        ("name", "alice", "x" * 201, ["*"]),
        ("scopes", "alice", "laptop", []),
        ("scopes", "alice", "laptop", ["Chat"]),
        ("scopes", "alice", "laptop", ["chat", "no spaces"]),
        ("scopes", "alice", "laptop", "chat"),
    ],
)
async def test_a_key_with_a_bad_field_is_not_made(
    keys: ApiKeys, field: str, principal: str, name: str, scopes: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await keys.create(principal, name, scopes)
    assert refused.value.field == field
    assert await keys.list() == []


async def test_ids_differ_by_case_and_are_kept_as_they_are(keys: ApiKeys) -> None:
    key, _ = await keys.create("Ålice@example.com", "her laptop")
    await keys.create("ålice@example.com", "another's")
    assert (await keys.verify(key)).id == "Ålice@example.com"
    assert len(await keys.list("Ålice@example.com")) == 1


async def test_many_callers_with_many_keys_are_told_apart(keys: ApiKeys) -> None:
    made = [await keys.create(f"user{number}", "key") for number in range(20)]
    found = await asyncio.gather(*(keys.verify(key) for key, _ in made * 5))
    assert [principal.id for principal in found] == [info.principal for _, info in made] * 5


async def test_bounds_that_two_operators_set_at_once_all_count(tables: Database) -> None:
    one, other = ApiKeys(tables, SECRET), ApiKeys(tables, SECRET)
    _, info = await one.create("alice", "laptop", ["chat"], limits=KeyLimits(streams=9, requests_per_minute=9))
    await asyncio.gather(
        one.limit(info.id, KeyLimits(requests_per_minute=30)),
        other.limit(info.id, KeyLimits(tokens_per_minute=4_000)),
        one.limit(info.id, KeyLimits(streams=0)),
    )
    assert (await other.list())[0].limits == KeyLimits(requests_per_minute=30, tokens_per_minute=4_000)
