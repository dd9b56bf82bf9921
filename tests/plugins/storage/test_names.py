"""What people call an object is shown to people, and is nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from hypothesis import given
from hypothesis import strategies as st

from engine.api import InvalidRequest, Principal, StoredObject
from plugins.storage.objects import LONGEST_NAME, Objects, clean_name
from plugins.storage.routes import disposition
from tests.plugins.storage.kit import files, once

NAMES = st.text(max_size=300) | st.sampled_from(["../a.mp3", 'a"; filename="b', "ü.mp3", "a\r\nSet-Cookie: b", ".", ""])


def named(name: str, content_type: str = "audio/mpeg") -> StoredObject:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    return StoredObject(id="o_1", name=clean_name(name), content_type=content_type, size=1, created_at=now)


@given(NAMES)
def test_a_name_is_one_line_without_folders_and_never_nothing(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= LONGEST_NAME
    assert not set(cleaned) & set("/\\\r\n\0") and cleaned not in (".", "..")
    assert clean_name(cleaned) == cleaned


@given(NAMES)
def test_a_client_reads_the_name_out_of_the_header_as_it_is(name: str) -> None:
    stored = named(name)
    header = disposition(stored)
    assert header.isascii() and header.isprintable()
    kind, parameters = parse_content_disposition(header)
    assert (kind, content_disposition_filename(parameters)) == ("inline", stored.name)


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/pdf", "audiobook/x"])
def test_what_could_run_as_a_page_is_saved_and_not_shown(content_type: str) -> None:
    assert disposition(named("page", content_type)).startswith("attachment; ")


@pytest.mark.parametrize("content_type", ["", "audio", "audio/mpeg\r\nX: y", "audio/mpeg; rate=1", "a/" + "b" * 60])
async def test_a_type_that_is_none_is_refused_before_a_byte_is_kept(store: Objects, content_type: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await store.put(Principal("ann"), once(b"x"), name="f", content_type=content_type)
    assert refusal.value.field == "content_type"
    assert (await store.page(Principal("ann"))).objects == []


async def test_the_file_has_the_id_for_its_name(store: Objects) -> None:
    stored = await store.put(Principal("ann"), once(b"x"), name="../../escape", content_type="text/plain")
    folder = store.shelf.place(stored.id).parent.parent  # type: ignore[attr-defined]
    assert [path.name for path in files(folder)] == [stored.id]
