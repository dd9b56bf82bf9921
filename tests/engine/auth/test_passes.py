"""Passes: short-lived keys for one purpose, which are worth no more than the key that they were made with."""

from __future__ import annotations

import dataclasses
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.errors import InvalidRequest, Unauthenticated
from engine.api.identity import LOCAL, Pass, Principal
from engine.auth.identity import KeyIdentity, LocalIdentity
from engine.auth.keys import ApiKeys
from engine.auth.passes import LONGEST, SignedPasses, is_pass, narrowed
from engine.db.databases import Database
from tests.engine.auth.clock import Clock

SECRET = b"a secret for the tests"
TALK = "talk"
MAKER = SignedPasses(lambda: SECRET)
MADE = MAKER.issue(LOCAL, TALK, seconds=3_600, detail={"voice": "ash"})


@pytest.fixture
def keys(tables: Database, clock: Clock) -> ApiKeys:
    return ApiKeys(tables, SECRET, clock=clock)


@pytest.fixture
def passes(clock: Clock) -> SignedPasses:
    return SignedPasses(lambda: SECRET, clock=clock)


@pytest.fixture
def identity(keys: ApiKeys, passes: SignedPasses) -> KeyIdentity:
    return KeyIdentity(keys, passes)


async def issued(keys: ApiKeys, passes: SignedPasses, *scopes: str) -> tuple[Principal, Pass]:
    """A principal with a key of these scopes, and a pass that it made."""
    principal = await keys.verify((await keys.create("alice", "laptop", scopes or ("*",)))[0])
    return principal, passes.issue(principal, TALK, seconds=60, detail={"voice": "ash"})


def bearer(made: Pass) -> dict[str, str]:
    return {"authorization": f"Bearer {made.text}"}


async def test_a_pass_opens_what_it_was_made_for_as_who_made_it(
    keys: ApiKeys, passes: SignedPasses, identity: KeyIdentity
) -> None:
    alice, made = await issued(keys, passes)
    for headers in (bearer(made), {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{made.text}"}):
        caller = await identity.caller(headers, TALK)
        assert (caller.principal, caller.granted) == (alice, {"voice": "ash"})


async def test_a_pass_opens_nothing_else(keys: ApiKeys, passes: SignedPasses, identity: KeyIdentity) -> None:
    _, made = await issued(keys, passes)
    with pytest.raises(Unauthenticated, match="made for something else"):
        await identity.caller(bearer(made), "another")
    for asked in (identity.caller, identity.from_headers):
        with pytest.raises(Unauthenticated, match="opens only what it was made for"):
            await asked(bearer(made))
    with pytest.raises(Unauthenticated, match="opens only what it was made for"):
        await identity.from_key(made.text)


async def test_a_key_opens_what_passes_open_too(keys: ApiKeys, identity: KeyIdentity) -> None:
    key, _ = await keys.create("alice", "laptop")
    caller = await identity.caller({"authorization": f"Bearer {key}"}, TALK)
    assert (caller.principal.id, caller.granted) == ("alice", None)


async def test_a_pass_expires(keys: ApiKeys, passes: SignedPasses, identity: KeyIdentity, clock: Clock) -> None:
    _, made = await issued(keys, passes)
    clock.now += 59
    await identity.caller(bearer(made), TALK)
    clock.now += 1
    with pytest.raises(Unauthenticated, match="expired"):
        await identity.caller(bearer(made), TALK)


async def test_a_pass_is_void_with_its_key_at_once(keys: ApiKeys, passes: SignedPasses, identity: KeyIdentity) -> None:
    alice, made = await issued(keys, passes)
    await identity.caller(bearer(made), TALK)
    await keys.revoke(str(alice.key))
    for asked in (identity.caller(bearer(made), TALK), identity.standing(alice)):
        with pytest.raises(Unauthenticated, match="revoked"):
            await asked


async def test_every_process_with_the_secret_takes_it_and_asks_for_its_key(
    keys: ApiKeys, passes: SignedPasses, tables: Database, clock: Clock
) -> None:
    alice, made = await issued(keys, passes)
    other = KeyIdentity(ApiKeys(tables, SECRET, clock=clock), SignedPasses(lambda: SECRET, clock=clock))
    assert (await other.caller(bearer(made), TALK)).principal == alice
    stranger = KeyIdentity(keys, SignedPasses(lambda: b"another secret", clock=clock))
    with pytest.raises(Unauthenticated, match="not made by this server"):
        await stranger.caller(bearer(made), TALK)


async def test_a_pass_that_was_made_without_a_key_opens_nothing_where_keys_are_needed(
    passes: SignedPasses, identity: KeyIdentity
) -> None:
    made = passes.issue(LOCAL, TALK, seconds=60)
    with pytest.raises(Unauthenticated, match="nobody needs one"):
        await identity.caller(bearer(made), TALK)


async def test_without_keys_what_a_pass_holds_counts_and_any_credential_is_taken(passes: SignedPasses) -> None:
    identity = LocalIdentity(passes)
    made = passes.issue(LOCAL, TALK, seconds=60, detail={"voice": "ash"})
    told = [
        await identity.caller(headers, TALK)
        for headers in (bearer(made), {"authorization": "Bearer ek_x"}, {"authorization": "Basic x"}, {})
    ]
    assert [caller.principal for caller in told] == [LOCAL] * 4
    assert [caller.granted for caller in told] == [{"voice": "ash"}, None, None, None]


@given(st.data())
def test_a_pass_with_any_letter_changed_is_refused(data: st.DataObject) -> None:
    text = MADE.text
    # The last letter of each half has bits that stand for nothing.
    places = [at for at in range(3, len(text)) if text[at] != "." and text[at + 1 : at + 2] not in ("", ".")]
    at = data.draw(st.sampled_from(places))
    letter = data.draw(st.sampled_from("ABCXYZabcxyz0189-_.!\u00e9").filter(lambda letter: letter != text[at]))
    with pytest.raises(Unauthenticated):
        MAKER.read(text[:at] + letter + text[at + 1 :], TALK)


@given(st.text(max_size=200))
def test_no_text_that_was_not_issued_is_a_pass(text: str) -> None:
    with pytest.raises(Unauthenticated):
        SignedPasses(lambda: SECRET).read(f"ek_{text}", TALK)


@pytest.mark.parametrize(
    ("now", "then", "both"),
    [
        ({"*"}, {"chat"}, {"chat"}),
        ({"chat"}, {"*"}, {"chat"}),
        ({"*"}, {"*"}, {"*"}),
        ({"chat", "admin"}, {"chat", "notes"}, {"chat"}),
        ({"notes"}, {"chat"}, set()),
    ],
)
def test_a_pass_has_the_scopes_that_its_key_had_then_and_has_now(now: set[str], then: set[str], both: set[str]) -> None:
    key = Principal("alice", frozenset(now), "abcd")
    assert narrowed(key, dataclasses.replace(key, scopes=frozenset(then))).scopes == both


def test_a_pass_holds_so_much_and_no_more(passes: SignedPasses) -> None:
    text = passes.issue(LOCAL, TALK, seconds=60, detail={"instructions": "Be brief. " * 1_000}).text
    assert is_pass(text)
    assert len(text) <= LONGEST
    dense = "".join(random.Random(7).choices(string.printable, k=20_000))
    with pytest.raises(InvalidRequest, match="cannot hold as much"):
        passes.issue(LOCAL, TALK, seconds=60, detail={"instructions": dense})
    with pytest.raises(InvalidRequest, match="cannot hold as much"):
        passes.issue(LOCAL, TALK, seconds=60, detail={"instructions": " " * (1 << 20)})


def test_two_passes_are_never_the_same_and_neither_shows_in_its_repr(passes: SignedPasses) -> None:
    one, other = (passes.issue(LOCAL, TALK, seconds=60) for _ in range(2))
    assert one.text != other.text
    assert one.text not in repr(one)
