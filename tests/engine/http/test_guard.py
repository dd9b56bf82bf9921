"""Who may talk to a server without keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.errors import Forbidden
from engine.auth.binding import is_loopback
from engine.http.guard import LocalGuard, host_name, request_id

GUARD = LocalGuard(hosts=["box.lan"], origins=["https://app.example.com"])
PLAIN = {"host": "localhost:8080"}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"])
def test_a_program_on_this_machine_passes(peer: str) -> None:
    GUARD.check(peer, PLAIN)


@pytest.mark.parametrize("peer", ["192.168.0.2", "8.8.8.8", "fe80::1%eth0", "::", "0.0.0.0", "", None])
def test_another_machine_is_refused_and_told_what_to_set(peer: str | None) -> None:
    with pytest.raises(Forbidden, match=r'auth\.mode = "keys"'):
        GUARD.check(peer, PLAIN)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "app.localhost:80",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]:8080",
        "box.lan:1",
    ],
)
def test_a_host_of_this_machine_passes(host: str) -> None:
    GUARD.check("127.0.0.1", {"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "0.0.0.0:8080",
        "192.168.0.2",
        "[::2]:80",
        "localhost, evil.example",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost/x",
        "",
        None,
    ],
)
def test_a_foreign_host_is_refused(host: str | None) -> None:
    with pytest.raises(Forbidden, match=r"auth\.allowed_hosts"):
        GUARD.check("127.0.0.1", {} if host is None else {"host": host})


@pytest.mark.parametrize(
    "name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"]
)
def test_what_came_through_a_proxy_is_refused(name: str) -> None:
    with pytest.raises(Forbidden, match=f"through a proxy \\(it carries {name}\\)"):
        GUARD.check("127.0.0.1", {**PLAIN, name: "127.0.0.1"})


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://localhost:3000", "https://LOCALHOST"])
def test_a_page_of_the_same_host_passes(origin: str) -> None:
    GUARD.check("127.0.0.1", {**PLAIN, "origin": origin, "sec-fetch-site": "same-site"})


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://127.0.0.1:8080",
        "null",
        "",
        "file://",
        "http://app.localhost",
        "https://app.example.com, https://evil.example",
        "https://app.example.com.evil.example",
    ],
)
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden, match=r"server\.cors_origins"):
        GUARD.check("127.0.0.1", {**PLAIN, "origin": origin})


def test_a_request_that_a_browser_marks_as_cross_site_is_refused_without_an_origin_too() -> None:
    with pytest.raises(Forbidden, match="another site"):
        GUARD.check("127.0.0.1", {**PLAIN, "sec-fetch-site": "cross-site"})


@pytest.mark.parametrize("site", ["none", "same-origin", "same-site"])
def test_a_request_of_the_same_site_or_of_the_user_passes(site: str) -> None:
    GUARD.check("127.0.0.1", {**PLAIN, "sec-fetch-site": site})


def test_a_configured_origin_may_call_from_another_site() -> None:
    GUARD.check("127.0.0.1", {**PLAIN, "origin": "https://app.example.com", "sec-fetch-site": "cross-site"})


def test_a_configured_origin_opens_no_other_door() -> None:
    with pytest.raises(Forbidden, match="Host"):
        GUARD.check("127.0.0.1", {"host": "evil.example", "origin": "https://app.example.com"})


def test_every_page_at_once_is_not_to_be_had_without_keys() -> None:
    with pytest.raises(ValueError, match="every web page"):
        LocalGuard(origins=["*"])


@given(st.text(max_size=30))
def test_any_text_as_host_or_origin_is_answered_and_never_breaks(text: str) -> None:
    for headers in ({"host": text}, {**PLAIN, "origin": text}):
        try:
            GUARD.check("127.0.0.1", headers)
        except Forbidden as error:
            assert error.message


def test_a_host_is_taken_out_of_its_authority() -> None:
    assert host_name("[::1]:80") == "::1"
    assert host_name("Example.COM.:80") == "example.com"
    assert host_name("a b") is None


def test_loopback_is_known_by_name_and_number() -> None:
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:10.0.0.1")
    assert not is_loopback("2130706433")


@pytest.mark.parametrize("sent", ["a", "A-z_0.9", "x" * 64])
def test_a_sane_request_id_is_kept(sent: str) -> None:
    assert request_id(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "a b", "a\n", "é", "<script>"])
def test_any_other_request_id_is_replaced_by_a_fresh_one(sent: str | None) -> None:
    made = request_id(sent)

    assert made != sent
    assert request_id(made) == made
    assert made != request_id(sent)
