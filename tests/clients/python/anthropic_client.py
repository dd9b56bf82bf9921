"""The official `anthropic` client."""

from __future__ import annotations

import sys

import anthropic

ASK = {"model": "openai/gpt-test", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello"}]}


def main(url: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="any")
    assert client.messages.create(**ASK).content[0].text == "Say hello"
    with client.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == "Say hello"
    assert client.messages.count_tokens(model=ASK["model"], messages=ASK["messages"]).input_tokens > 0
    try:
        client.messages.create(**{**ASK, "model": "nowhere/at-all"})
    except anthropic.NotFoundError:
        return
    raise AssertionError("a model that is not there was found")


if __name__ == "__main__":
    main(sys.argv[1])
