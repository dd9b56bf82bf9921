"""Who asks comes from the credential, wherever the caller's dialect puts it."""

from __future__ import annotations

import pytest

from engine.api.errors import Unauthenticated
from engine.api.identity import LOCAL
from engine.auth.identity import Identity, KeyIdentity, LocalIdentity
from engine.auth.key_text import new_key
from engine.auth.keys import ApiKeys
from engine.db.databases import Database


@pytest.fixture
def keys(tables: Database) -> ApiKeys:
    return ApiKeys(tables, b"a secret for the tests")


@pytest.fixture
async def key(keys: ApiKeys) -> str:
    return (await keys.create("alice", "laptop"))[0]


@pytest.fixture
def identity(keys: ApiKeys) -> Identity:
    return KeyIdentity(keys)


FORMS = [
    ("authorization", "Bearer {}"),
    ("authorization", "bearer {}"),
    ("authorization", "BEARER   {} "),
    ("x-api-key", "{}"),
    ("api-key", "{}"),
]


@pytest.mark.parametrize(("name", "form"), FORMS)
async def test_a_key_is_found_in_each_dialects_header(identity: Identity, key: str, name: str, form: str) -> None:
    headers = {name: form.format(key), "host": "localhost"}
    assert (await identity.caller(headers)).principal.id == "alice"
    opener = await identity.from_headers(headers)
    assert opener is not None
    assert opener.id == "alice"


@pytest.mark.parametrize(("name", "form"), FORMS)
async def test_a_key_that_is_not_accepted_is_refused_for_sockets_too(identity: Identity, name: str, form: str) -> None:
    headers = {name: form.format(new_key()[1])}
    for asked in (identity.caller, identity.from_headers):
        with pytest.raises(Unauthenticated, match="not accepted"):
            await asked(headers)


async def test_a_request_without_a_key_is_told_where_to_put_it(identity: Identity) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Bearer <key>"):
        await identity.caller({"host": "localhost"})


async def test_a_socket_without_a_key_may_send_it_in_its_first_frame(identity: Identity, key: str) -> None:
    assert await identity.from_headers({"host": "localhost"}) is None
    assert (await identity.from_key(key)).id == "alice"
    with pytest.raises(Unauthenticated, match="not accepted"):
        await identity.from_key(new_key()[1])


@pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "Token abc", "abc", ""])
async def test_another_scheme_is_refused_without_repeating_it(identity: Identity, value: str) -> None:
    for asked in (identity.caller, identity.from_headers):
        with pytest.raises(Unauthenticated, match="`Bearer <key>`") as refused:
            await asked({"authorization": value})
        assert not value or value not in refused.value.message


async def test_a_proxys_own_authorization_does_not_hide_a_key(identity: Identity, key: str) -> None:
    assert (await identity.caller({"authorization": "Basic dXNlcjpwYXNz", "x-api-key": key})).principal.id == "alice"


async def test_a_bearer_without_a_key_is_no_missing_credential(identity: Identity) -> None:
    with pytest.raises(Unauthenticated, match="bai_<id>_<secret>"):
        await identity.from_headers({"authorization": "Bearer "})


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer whatever"}, {"x-api-key": "sk-none"}])
async def test_without_keys_every_caller_is_the_local_user(headers: dict[str, str]) -> None:
    identity: Identity = LocalIdentity()
    assert (await identity.caller(headers)).principal is LOCAL
    assert await identity.from_headers(headers) is LOCAL
    assert await identity.from_key("whatever") is LOCAL


OURS = [
    ("authorization", "Bearer {}"),
    ("x-api-key", "{}"),
    ("api-key", "{}"),
    ("sec-websocket-protocol", "realtime, openai-insecure-api-key.{}"),
]


@pytest.mark.parametrize(("name", "form"), OURS)
async def test_of_several_credentials_the_one_of_our_form_counts(
    identity: Identity, key: str, name: str, form: str
) -> None:
    theirs = {each: shape.format("sk-of-a-vendor") for each, shape in OURS}
    headers = {**theirs, name: form.format(key)}
    assert (await identity.caller(headers)).principal.id == "alice"


async def test_a_header_that_was_sent_twice_may_hold_our_key_in_either_place(identity: Identity, key: str) -> None:
    for value in (f"Bearer sk-x, Bearer {key}", f"Bearer {key}, Bearer sk-x"):
        assert (await identity.caller({"authorization": value})).principal.id == "alice"


async def test_a_wrong_key_of_our_form_is_not_passed_over_for_another(identity: Identity, key: str) -> None:
    with pytest.raises(Unauthenticated, match="not accepted"):
        await identity.caller({"authorization": f"Bearer {new_key()[1]}", "x-api-key": key})
