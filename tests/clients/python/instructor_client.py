"""`instructor`: an answer in the form of a model."""

from __future__ import annotations

import sys

import instructor
import openai
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def main(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
    for mode, text in (
        (instructor.Mode.TOOLS, 'call Weather {"city": "Oslo", "degrees": 3}'),
        (instructor.Mode.JSON, '{"city": "Oslo", "degrees": 3}'),
    ):
        made = instructor.from_openai(client, mode=mode).chat.completions.create(
            model="openai/gpt-test", response_model=Weather, messages=[{"role": "user", "content": text}]
        )
        assert (made.city, made.degrees) == ("Oslo", 3), mode


if __name__ == "__main__":
    main(sys.argv[1])
