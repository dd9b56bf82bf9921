"""What turns cost, told by their ends, and summed up by the server and by the program."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, Usage
from tests.journeys.client import Socket, connected
from tests.server import CHAT, RunningServer, behind, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Behind an address that is not OpenAI's the catalogue's prices hold all the same: what is charged is the operator's affair.
MODELS = ("openai/gpt-6.2-sol", "openai/gpt-6.1-sol", "openai/unknown")
SECRET = "a secret of thirty-two characters"


class Asked:
    """A server in keys mode, its vendor, and a key for each of two principals and for an admin."""

    def __init__(self, server: RunningServer, vendor: OpenAIEmulator) -> None:
        self.server = server
        self.vendor = vendor
        self.keys = {
            "ann": self._key("ann"),
            "bob": self._key("bob", "--scope", "chat"),
            "boss": self._key("boss", "--scope", "admin", "--scope", "chat"),
        }

    def _key(self, name: str, *options: str) -> str:
        told = self.server.run("keys", "create", name, *options)
        return next(word for word in told.split() if word.startswith("bai_"))

    async def usage(self, who: str, query: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        address = f"{self.server.url}/api/v1/usage{query}"
        async with aiohttp.ClientSession(headers=headers) as http, http.get(address) as answer:
            return answer.status, await answer.json()

    def socket(self, who: str) -> Any:
        return connected(self.server.url, headers={"Authorization": f"Bearer {self.keys[who]}"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    async with OpenAIEmulator() as vendor:
        own = {**CHAT, "auth.mode": "keys", "auth.secret": SECRET}
        with serving(tmp_path_factory.mktemp("server"), own, behind(vendor)) as server:
            yield Asked(server, vendor)


async def ended(asked: Asked, socket: Socket, how: str, tokens: tuple[int, int, int], model: str) -> dict[str, Any]:
    """One turn that ends in a way; gives its terminal event."""
    usage = Usage(tokens[0] + tokens[2], tokens[1], cached=tokens[2])
    hold = Hold()
    replies: dict[str, Say | Fault] = {
        "completed": Say("Hello you", usage=usage),
        "failed": Fault.cut(after=3, say=Say("Hello you", usage=usage)),
        "cancelled": Say(pieces=["Hello ", hold, "you"], usage=usage),
    }
    asked.vendor.script.append(replies[how])
    heard = await socket.chat("Hi", model=model, store=False)
    if how == "cancelled":
        await hold.reached()
        await socket.ask("stream.cancel", stream=heard.stream)
    return await socket.end_of(heard.stream)


turns = st.lists(
    st.tuples(
        st.sampled_from(["completed", "failed", "cancelled"]),
        st.tuples(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 999)),
        st.sampled_from(MODELS),
    ),
    min_size=1,
    max_size=4,
)


async def test_the_sum_of_the_rows_is_the_sum_of_the_ends_to_the_last_digit(asked: Asked) -> None:
    async with asked.socket("ann") as socket:
        told: dict[str, list[dict[str, Any]]] = {}

        async def run(wanted: list[tuple[str, tuple[int, int, int], str]]) -> None:
            for how, tokens, model in wanted:
                end = await ended(asked, socket, how, tokens, model)
                assert end["status"] == how and end["saved"]
                told.setdefault(end.get("model") or "", []).append(end)

        for wanted in examples(turns, 12):
            await run(wanted)
    status, report = await asked.usage("ann", "?by=model")
    assert status == 200
    rows = {row.get("model", ""): row for row in report["usage"]}
    assert rows.keys() == told.keys()
    for model, ends in told.items():
        cost = sum((Decimal(end["cost"]["amount"]) for end in ends if "cost" in end), Decimal(0))
        assert Decimal(rows[model]["cost"]["amount"]) == cost
        assert rows[model]["turns"] == len(ends)
        assert rows[model]["input_tokens"] == sum(end["usage"]["input_tokens"] for end in ends)
        assert rows[model]["output_tokens"] == sum(end["usage"]["output_tokens"] for end in ends)


def examples(strategy: Any, count: int) -> list[Any]:
    """Values that hypothesis makes, for work that needs the module's loop."""
    found: list[Any] = []

    @settings(max_examples=count, database=None, derandomize=True)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


async def test_each_sees_their_own_and_an_admin_everybodys(asked: Asked) -> None:
    async with asked.socket("bob") as socket:
        await ended(asked, socket, "completed", (7, 3, 0), MODELS[0])
    own = (await asked.usage("bob", "?by=principal&by=status"))[1]["usage"]
    assert [(row["principal"], row["status"], row["turns"]) for row in own] == [("bob", "completed", 1)]
    assert (await asked.usage("bob", "?principal=ann"))[0] == 403
    assert (await asked.usage("bob", "?principal=*"))[0] == 403
    everybody = (await asked.usage("boss", "?principal=*&by=principal"))[1]["usage"]
    assert {"ann", "bob"} <= {row["principal"] for row in everybody}
    one = (await asked.usage("boss", "?principal=bob&by=key"))[1]["usage"]
    assert [row["turns"] for row in one] == [1]
    assert one[0]["key"] in asked.keys["bob"]


async def test_days_are_those_of_utc_and_both_ends_are_in(asked: Asked) -> None:
    async with asked.socket("boss") as socket:
        await ended(asked, socket, "completed", (7, 3, 0), MODELS[0])
    today = datetime.now(UTC).date()
    rows = (await asked.usage("boss", f"?by=day&since={today}&until={today}"))[1]["usage"]
    assert sum(row["turns"] for row in rows) == 1
    assert rows[0]["day"] in {str(today), str(today + timedelta(days=1))}
    yesterday = today - timedelta(days=1)
    assert (await asked.usage("boss", f"?until={yesterday}"))[1]["usage"] == []


@pytest.mark.parametrize(
    ("query", "field"), [("?by=colour", "by"), ("?since=soon", "since"), ("?until=0", "until"), ("?form=2026", "form")]
)
async def test_a_wrong_question_is_named(asked: Asked, query: str, field: str) -> None:
    status, problem = await asked.usage("ann", query)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert problem["field"].startswith(field)


async def test_the_program_tells_the_same(asked: Asked) -> None:
    told = asked.server.run("usage", "--by", "principal", "--principal", "bob")
    assert re.search(r"^bob +1 +7 +3 +\S+$", told, re.MULTILINE), told
    assert "no such group" in asked.server.run("usage", "--by", "colour")
    assert asked.server.run("usage", "--until", "2020-01-01").strip() == "no turns"


async def test_there_is_nothing_to_tell_of_an_empty_database(tmp_path: Path) -> None:
    with serving(tmp_path / "server", CHAT) as server:
        assert server.run("usage").strip() == "no turns"
