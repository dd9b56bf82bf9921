"""How the model that comes with the server answers 50 easy questions: python -m bench.demo_model

Each answer is right where it holds what the question asks for; words that no language has (`I'sure`) are counted apart. Options
try other settings of the sampler, one run each: `--set temperature=0.2 --set repeat_penalty=1.1`, `--system "…"`, and
`--answers` shows what was said.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp

from plugins.local.chat import SAMPLER, SYSTEM, TEMPERATURE
from plugins.local.settings import LocalSettings
from plugins.local.supervisor import Endpoint, LlamaServer

MOST_TOKENS = 120
TOGETHER = 2

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("What is the capital of France?", r"paris"),
    ("What is the capital of Italy?", r"rome"),
    ("What is the capital of Japan?", r"tokyo"),
    ("What is the capital of Germany?", r"berlin"),
    ("What is the capital of Spain?", r"madrid"),
    ("What is the capital of England?", r"london"),
    ("What is the capital of Egypt?", r"cairo"),
    ("What is the capital of the United States?", r"washington"),
    ("What is 2 + 2?", r"\b(4|four)\b"),
    ("What is 3 + 5?", r"\b(8|eight)\b"),
    ("What is 10 - 4?", r"\b(6|six)\b"),
    ("What is 2 times 3?", r"\b(6|six)\b"),
    ("How many days are in a week?", r"\b(7|seven)\b"),
    ("How many months are in a year?", r"\b(12|twelve)\b"),
    ("How many hours are in a day?", r"\b24\b"),
    ("How many minutes are in an hour?", r"\b(60|sixty)\b"),
    ("How many legs does a spider have?", r"\b(8|eight)\b"),
    ("How many legs does a dog have?", r"\b(4|four)\b"),
    ("What colour is the sky on a clear day?", r"blue"),
    ("What colour is grass?", r"green"),
    ("What colour is snow?", r"white"),
    ("What colour do you get when you mix blue and yellow?", r"green"),
    ("What is the opposite of hot?", r"cold"),
    ("What is the opposite of big?", r"small|little|tiny"),
    ("What is the opposite of day?", r"night"),
    ("What is the largest planet in our solar system?", r"jupiter"),
    ("Which planet do we live on?", r"earth"),
    ("What does the Earth orbit around?", r"sun"),
    ("What is H2O?", r"water"),
    ("What is the chemical symbol for gold?", r"\bau\b"),
    ("Who wrote Romeo and Juliet?", r"shakespeare"),
    ("Who was the first president of the United States?", r"washington"),
    ("Who painted the Mona Lisa?", r"(leonardo|da vinci)"),
    ("Which animal says meow?", r"cat"),
    ("Which animal barks?", r"dog"),
    ("What do bees make?", r"honey"),
    ("What do cows drink when they are calves?", r"milk"),
    ("At what temperature in Celsius does water freeze?", r"\b(0|zero)\b"),
    ("At what temperature in Celsius does water boil?", r"\b100\b"),
    ("Which season comes after winter?", r"spring"),
    ("Which month comes after January?", r"february"),
    ("Which day comes after Monday?", r"tuesday"),
    ("What language is spoken in Spain?", r"spanish|castilian"),
    ("On which continent is Kenya?", r"africa"),
    ("On which continent is China?", r"asia"),
    ("Which ocean lies between Europe and America?", r"atlantic"),
    ("What is the tallest mountain in the world?", r"everest"),
    ("Say hello to me.", r"\b(hello|hi|hey)\b"),
    ("Name three fruits.", r"(apple|banana|orange|grape|strawberr|mango|pear|berr|pineapple|peach|kiwi)"),
    ("Write one short sentence about a cat.", r"cat"),
)
"""What is asked, and what a right answer holds."""

_APOSTROPHES = re.compile(r"[A-Za-z]+['’](?!s\b|t\b|d\b|m\b|re\b|ve\b|ll\b|clock\b)[a-z]+|[A-Za-z]+['’][st][a-z]+")
_LONG = re.compile(r"\b[A-Za-z]{22,}\b")


def broken_words(text: str) -> list[str]:
    """Words of a text that no language has: a stem with an ending that is none, and words without end."""
    return _APOSTROPHES.findall(text) + _LONG.findall(text)


@dataclass(frozen=True)
class Result:
    """One answer."""

    question: str
    answer: str
    right: bool
    tokens: int


async def ask(
    http: aiohttp.ClientSession, endpoint: Endpoint, question: str, system: str, sampling: dict[str, Any]
) -> str:
    """The answer to a question without a history."""
    messages = [{"role": "system", "content": system}] if system else []
    body = {"messages": [*messages, {"role": "user", "content": question}], "max_tokens": MOST_TOKENS, **sampling}
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Connection": "close"}
    async with http.post(f"{endpoint.base_url}/chat/completions", json=body, headers=headers) as answer:
        answer.raise_for_status()
        return str((await answer.json())["choices"][0]["message"]["content"])


async def measure(system: str, sampling: dict[str, Any]) -> list[Result]:
    """All questions, a few at a time."""
    server = LlamaServer(LocalSettings())
    server.start()
    turns = asyncio.Semaphore(TOGETHER)
    try:
        endpoint = await server.ready()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as http:

            async def one(question: str, wanted: str) -> Result:
                async with turns:
                    answer = await ask(http, endpoint, question, system, sampling)
                right = re.search(wanted, answer, re.IGNORECASE) is not None
                return Result(question, answer, right, len(answer.split()))

            return await asyncio.gather(*(one(*each) for each in QUESTIONS))
    finally:
        await server.aclose()


def main() -> None:
    """Ask, count, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--system", default=SYSTEM)
    parser.add_argument("--answers", action="store_true")
    asked = parser.parse_args()
    sampling: dict[str, Any] = {"temperature": TEMPERATURE, **SAMPLER}
    for each in asked.set:
        name, _, value = each.partition("=")
        sampling[name] = float(value)
    results = asyncio.run(measure(asked.system, sampling))
    if asked.answers:
        for result in results:
            sys.stdout.write(f"{'right' if result.right else 'WRONG'}  {result.question}\n       {result.answer!r}\n")
    broken = [word for result in results for word in broken_words(result.answer)]
    words = sum(result.tokens for result in results) / len(results)
    sys.stdout.write(
        f"{sum(result.right for result in results)} of {len(results)} right, {len(broken)} broken words {broken[:5]}, "
        f"{words:.0f} words an answer, with {sampling}, system {asked.system[:60]!r}\n"
    )


if __name__ == "__main__":
    main()
