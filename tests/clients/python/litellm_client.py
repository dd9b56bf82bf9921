"""`litellm` as a client of either dialect."""

from __future__ import annotations

import sys

import litellm

ASK = {"messages": [{"role": "user", "content": "Say hello"}], "api_key": "any"}


def main(url: str) -> None:
    theirs = {"model": "openai/openai/gpt-test", "api_base": f"{url}/v1"}
    assert litellm.completion(**theirs, **ASK).choices[0].message.content == "Say hello"
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**theirs, **ASK, stream=True)]
    assert "".join(pieces) == "Say hello"
    answer = litellm.completion(model="anthropic/openai/gpt-test", api_base=url, **ASK)
    assert answer.choices[0].message.content == "Say hello"
    try:
        litellm.completion(model="openai/nowhere/at-all", api_base=f"{url}/v1", **ASK)
    except litellm.NotFoundError:
        return
    raise AssertionError("a model that is not there was found")


if __name__ == "__main__":
    main(sys.argv[1])
