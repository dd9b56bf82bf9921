"""An address is understood however it is written, the same for requests and for the socket."""

from __future__ import annotations

import errno

import pytest

from engine.wire.address import http_address, no_server, socket_address


@pytest.mark.parametrize(
    ("written", "http", "socket"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
        ("localhost", "http://localhost", "ws://localhost/ws"),
        ("[::1]:8080", "http://[::1]:8080", "ws://[::1]:8080/ws"),
        ("http://a:1/", "http://a:1", "ws://a:1/ws"),
        ("HTTPS://a", "https://a", "wss://a/ws"),
        ("ws://a:1", "http://a:1", "ws://a:1/ws"),
        ("ws://a:1/ws", "http://a:1", "ws://a:1/ws"),
        ("wss://a/under/ws/", "https://a/under", "wss://a/under/ws"),
        ("https://a/under/", "https://a/under", "wss://a/under/ws"),
        ("http://a/ws", "http://a", "ws://a/ws"),
        ("ws://a/socket?x=1", "http://a/socket", "ws://a/socket?x=1"),
    ],
)
def test_an_address_is_understood_however_it_is_written(written: str, http: str, socket: str) -> None:
    assert (http_address(written), socket_address(written)) == (http, socket)


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "ws://x:y", "x:0", "http://a b", "http://[::1", "x:99999"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    for understood in (http_address, socket_address):
        with pytest.raises(ValueError, match=r"is no address of a server, such as http://127\.0\.0\.1:8080"):
            understood(text)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)"), "connection refused"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (TimeoutError(), "it does not answer in time"),
        (ValueError("Expecting value: line 1"), "what answers there is another program"),
        (RuntimeError("Server disconnected"), "it broke the connection off"),
    ],
)
def test_a_server_that_is_not_there_is_told_of_in_words_of_the_system(error: Exception, why: str) -> None:
    assert no_server("http://ai:9", error) == f"no server answers at http://ai:9: {why}"
