"""A link is good for its object until its end, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.api import ObjectNotFound, Principal
from engine.db.databases import Database
from plugins.storage.links import PATH, LinkExpired, LinkInvalid, Links
from plugins.storage.objects import Objects
from tests.plugins.storage.kit import Clock, once

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
LINKS = Links(lambda: b"a secret")
IDS = st.from_regex(r"o_[0-9a-f]{28}", fullmatch=True)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
ANN = Principal("ann")


def parts(url: str) -> tuple[str, int, str]:
    """Object, end and signature of a link, as its route reads them."""
    split = urlsplit(url)
    query = parse_qs(split.query, strict_parsing=True)
    return split.path.removeprefix(f"{PATH}/"), int(query["expires"][0]), query["signature"][0]


@given(IDS, MOMENTS)
def test_a_link_is_good_up_to_its_end_and_no_longer(id: str, ends: datetime) -> None:
    link = LINKS.make(id, ends)
    told, expires, signature = parts(link.url)
    assert (told, timedelta() <= ends - link.expires_at < timedelta(seconds=1)) == (id, True)
    LINKS.check(told, expires, signature, link.expires_at - timedelta(microseconds=1))
    with pytest.raises(LinkExpired):
        LINKS.check(told, expires, signature, link.expires_at)


@given(IDS, IDS, MOMENTS, st.integers(-(10**6), 10**6), st.data())
def test_a_link_that_was_changed_is_good_for_nothing(
    id: str, other: str, ends: datetime, later: int, data: st.DataObject
) -> None:
    _, expires, signature = parts(LINKS.make(id, ends).url)
    at = data.draw(st.integers(0, len(signature) - 1))
    letter = data.draw(st.sampled_from("AZaz09-_"))
    changed = other, expires + later, signature[:at] + letter + signature[at + 1 :]
    for wrong in {(changed[0], expires, signature), (id, changed[1], signature), (id, expires, changed[2])}:
        if wrong == (id, expires, signature):
            continue
        with pytest.raises(LinkInvalid):
            LINKS.check(*wrong, NOON - timedelta(days=400))


@given(IDS, st.text(max_size=64))
def test_no_text_is_a_signature(id: str, signature: str) -> None:
    expires = int(NOON.timestamp())
    assume(signature not in LINKS.make(id, NOON).url)
    with pytest.raises(LinkInvalid):
        LINKS.check(id, expires, signature, NOON)


def test_a_link_of_another_server_is_none() -> None:
    link = Links(lambda: b"another secret").make("o_1", NOON)
    with pytest.raises(LinkInvalid):
        LINKS.check(*parts(link.url), NOON - timedelta(hours=1))


def test_the_secret_is_not_asked_for_before_a_link_is_due() -> None:
    def ask() -> bytes:
        asked.append(True)
        return b"a secret"

    asked: list[bool] = []
    links = Links(ask)
    assert not asked
    assert links.make("o_1", NOON) == links.make("o_1", NOON) == LINKS.make("o_1", NOON)
    assert asked == [True]


async def test_a_link_ends_with_its_object(store: Objects, tables: Database, clock: Clock) -> None:
    stored = await store.put(ANN, once(b"x"), name="f", content_type="text/plain")
    assert stored.expires_at is not None
    clock.later = timedelta(days=29, hours=23, minutes=30)
    link = await store.link(stored, 3600)
    assert timedelta() <= stored.expires_at - link.expires_at < timedelta(seconds=1)
    assert await store.linked(*parts(link.url)) == stored


async def test_a_link_to_a_deleted_object_leads_nowhere(store: Objects) -> None:
    stored = await store.put(ANN, once(b"x"), name="f", content_type="text/plain")
    link = await store.link(stored)
    await store.delete(ANN, stored.id)
    with pytest.raises(ObjectNotFound):
        await store.linked(*parts(link.url))
