"""Texts for clients name no file and no private host, and keep what helps a client."""

import pytest

from engine.wire.hiding import without_places


@pytest.mark.parametrize(
    "place",
    [
        "10.1.2.3",
        "10.1.2.3:9",
        "127.0.0.1",
        "[::1]:8080",
        "[fd00::12]",
        "::1",
        "fd12:3456::7",
        "localhost",
        "localhost:11434",
        "gpu-3:8000",
        "llm.internal.example:8443",
        "inference.prod.svc",
        "box.local",
        "/opt/secret/vendor.py",
        "/code/serving/worker.py",
        "/models/llama/model.gguf",
        "/var/lib/vendor/.env",
        "~/keys/vendor",
        r"C:\vendor\app\main.py",
        "${env:SECRET_NAME}",
    ],
)
def test_a_place_is_hidden(place: str) -> None:
    for text in (f"boom at {place}", f'File "{place}", line 3', f"({place})", f"{place}: no such file"):
        hidden = without_places(text)
        assert place not in hidden
        assert "…" in hidden


@pytest.mark.parametrize("url", ["http://10.1.2.3:9/v1/x", "http://gateway/v1/x", "https://localhost/v1/x.json"])
def test_the_host_of_a_private_link_is_hidden(url: str) -> None:
    host = url.split("/")[2]
    assert host not in without_places(f"boom at {url}")


@pytest.mark.parametrize(
    "text",
    [
        "Visit https://platform.openai.com/account/api-keys to make one.",
        "See https://docs.anthropic.com/en/docs/errors.html#rate and https://ai.google.dev/gemini-api/docs",
        "Use /v1/responses in place of /v1/chat/completions.",
        "messages.0.content: the ratio 3:1 is too high, at 5 tokens/s and/or 7.5",
        "models/gemini-2.5-flash is not found for API version v1beta",
    ],
)
def test_public_links_and_our_own_paths_stay(text: str) -> None:
    assert without_places(text) == text


def test_a_long_text_takes_time_in_proportion_to_its_length() -> None:
    for piece in ("/a", "a.", "a-", "[:", "1.", "f0:", "://a"):
        assert without_places(piece * 20_000) is not None
