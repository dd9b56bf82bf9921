"""An operator bounds what a principal spends, and it holds: over every door, under load, and after a kill."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from decimal import Decimal
from functools import partial
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.openai_realtime import Answers, OpenAIRealtimeEmulator
from tests.emulators.reply import Citation, Hold, Say, Usage
from tests.journeys.caller import Caller
from tests.journeys.client import Socket, connected
from tests.server import RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a secret of thirty-two characters"
MODEL = "openai/gpt-6.2-sol"
SPEAKING = "openai/gpt-realtime-2.1"
SOURCE = Citation("https://a", "A", quote="more")
KEYS = {"auth.mode": "keys", "auth.secret": SECRET}


def key_for(server: RunningServer, name: str) -> str:
    return next(word for word in server.run("keys", "create", name).split() if word.startswith("bai_"))


def spent(server: RunningServer) -> Decimal:
    [line] = [line for line in server.run("usage", "--by", "principal").splitlines() if line.startswith("ann")]
    return Decimal(line.split()[-1])


async def test_a_hundred_turns_at_once_do_not_pass_a_budget(start: Start, vendor: OpenAIEmulator) -> None:
    server = start(KEYS)
    key = key_for(server, "ann")
    server.run("budgets", "set", "principal:ann", "--day-tokens", "3000")
    vendor.script += [Say("Hello you", usage=Usage(12, 95))] * 100
    async with connected(server.url, headers={"Authorization": f"Bearer {key}"}) as socket:
        answers = [
            await socket.send("chat.send", input="Hi", model=MODEL, store=False, max_output_tokens=95)
            for _ in range(100)
        ]
        ends = []
        for id in answers:
            answer = await socket.answer(id)
            ends.append(answer if answer["type"] == "rejected" else await socket.end_of(answer["stream"]))
    errors = [end["error"]["code"] for end in ends if end.get("error")]
    done = [end for end in ends if end.get("status") == "completed"]
    used = sum(end["usage"]["input_tokens"] + end["usage"]["output_tokens"] for end in done)
    assert set(errors) == {"budget_exceeded"}
    assert len(done) + len(errors) == 100
    assert 0 < used <= 3000


async def test_an_openai_client_gets_its_quota_error_and_the_program_tells_the_budget(
    start: Start, vendor: OpenAIEmulator
) -> None:
    server = start(KEYS)
    key = key_for(server, "ann")
    told = server.run("budgets", "set", "principal:ann", "--day", "0.000001", "--month", "5")
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
        server.run("budgets", "remove", "principal:ann")
        listed = server.run("budgets", "list")
    assert "principal:ann may spend up to 0.000001 dollars a day" in told
    assert refused.value.code == "insufficient_quota"
    assert "the budget of principal:ann has 0.000001 of 0.000001 dollars left for this day" in refused.value.message
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert "principal:ann" not in listed
    assert vendor.requests == []


async def test_embeddings_are_bounded_and_counted_like_turns(start: Start, vendor: OpenAIEmulator) -> None:
    server = start({**KEYS, "limits.tokens_per_minute": 1000})
    key = key_for(server, "ann")
    server.run("budgets", "set", "principal:ann", "--day-tokens", "40")
    model = "openai/text-embedding-3-small"
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0) as client:
        made = await client.embeddings.create(model=model, input="a boat with a name")
        with pytest.raises(openai.RateLimitError, match="this call may use more than is left") as refused:
            await client.embeddings.create(model=model, input=["words and more words"] * 20)
        asked = len(vendor.requests)
        raw = await client.models.with_raw_response.list()
        async with client.with_options(base_url=server.url) as native:
            told = await native.get("/metrics", cast_to=str)
            budgets: Any = await native.get("/api/v1/budgets", cast_to=object)
    assert refused.value.code == "insufficient_quota"
    [budget] = budgets["budgets"]
    used = made.usage.total_tokens
    assert (budget["subject"], budget["period"], budget["unit"]) == ("principal:ann", "day", "tokens")
    assert (budget["limit"], budget["spent"], budget["reserved"], budget["remaining"]) == (40, used, 0, 40 - used)
    assert asked == 1
    assert 0 < made.usage.prompt_tokens < 40
    assert raw.headers["x-ratelimit-remaining-tokens"] == str(1000 - made.usage.prompt_tokens)
    assert f'betterai_turns_total{{command="embed",model="{model}",reason="done",status="completed"}} 1.0' in told
    assert spent(server) > 0


async def test_no_words_of_a_vendor_get_past_a_budget(start: Start, vendor: OpenAIEmulator) -> None:
    server = start(KEYS)
    key = key_for(server, "ann")
    server.run("budgets", "set", "principal:ann", "--day-tokens", "10000")
    async with connected(server.url, headers={"Authorization": f"Bearer {key}"}) as socket:

        async def told(**body: Any) -> Any:
            answer = await socket.answer(await socket.send("chat.send", model=MODEL, store=False, **body))
            ended = answer if answer["type"] == "rejected" else await socket.end_of(answer["stream"])
            return ended.get("error") or ended

        refused = [
            await told(input="Hi", provider_options={"max_tokens": 9_000_000}),
            await told(input="Hi", max_output_tokens=10, provider_options={"max_completion_tokens": 128_000}),
            await told(input="\u6f22" * 20_000, max_output_tokens=10),
        ]
        named = [
            await told(input="Hi", provider_options={field: value})
            for field, value in (("n", 128), ("model", "gpt-6-astra"), ("messages", []), ("stream", True))
        ]
        negative = [
            await told(input="Hi", max_output_tokens=9_000_000, provider_options=options)
            for options in ({"reasoning": {"max_tokens": -(10**9)}}, {"zzz": {"budget_tokens": -(10**9)}})
        ]
        assert vendor.requests == []
        vendor.script.append(Say("Hello you", usage=Usage(12, 20)))
        ended = await told(input="Hi")
    assert [error["code"] for error in refused] == ["budget_exceeded"] * 3
    assert [error["field"] for error in named] == [
        f"provider_options.{f}" for f in ("n", "model", "messages", "stream")
    ]
    assert {error["code"] for error in [*named, *negative]} == {"invalid_request"}
    assert [error["field"] for error in negative] == [
        "provider_options.reasoning.max_tokens",
        "provider_options.zzz.budget_tokens",
    ]
    assert ended["usage"]["output_tokens"] == 20
    [asked] = vendor.requests
    [bound] = [value for name, value in asked.body.items() if name.startswith("max_")]
    assert 0 < bound <= 10_000


@pytest_asyncio.fixture(loop_scope="module")
async def claude() -> AsyncIterator[AnthropicEmulator]:
    async with AnthropicEmulator() as emulator:
        yield emulator


@pytest.mark.parametrize("auth", [KEYS, {}], ids=["keys", "local"])
async def test_each_time_that_an_answer_goes_on_after_a_pause_is_paid_for(
    start: Start, claude: AnthropicEmulator, auth: dict[str, Any]
) -> None:
    claude.script += [Say("more and more ", paused=True, citations=[SOURCE], usage=Usage(1500, 100))] * 16
    vendor = {"vendors.anthropic.base_url": claude.base_url, "vendors.anthropic.api_key": "sk-ant-test"}
    server = start({**auth, **vendor, "plugins.enabled": ["chat"]})
    headers = {"Authorization": f"Bearer {key_for(server, 'ann')}"} if auth else {}
    server.run("budgets", "set", f"principal:{'ann' if auth else 'local'}", "--day-tokens", "20000")
    async with connected(server.url, headers=headers) as socket:
        tools = [{"type": "web_search", "options": {"max_uses": 1}}]
        answer = await socket.ask(
            "chat.send",
            input="Search.",
            model="anthropic/claude-sonnet-5",
            store=False,
            tools=tools,
            max_output_tokens=100,
        )
        assert answer["type"] == "accepted", answer
        ended = await socket.end_of(answer["stream"])
        text = socket.of(answer["stream"]).text
    assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded")
    times = len(claude.requests)
    assert 1 < times < 16
    assert text == "more and more " * times
    used = ended["usage"]
    assert (used["input_tokens"], used["output_tokens"], used["searches"]) == (1500 * times, 100 * times, times)
    assert used["input_tokens"] + used["output_tokens"] <= 20_000
    assert Decimal(ended["cost"]["amount"]) == times * (Decimal("0.01") + Decimal("0.003") + Decimal("0.001"))


@pytest_asyncio.fixture(loop_scope="module")
async def realtime() -> AsyncIterator[OpenAIRealtimeEmulator]:
    async with OpenAIRealtimeEmulator() as emulator:
        yield emulator


def calling(start: Start, vendor: OpenAIRealtimeEmulator, auth: Mapping[str, Any]) -> RunningServer:
    return start(
        {**auth, "plugins.enabled": ["chat", "realtime", "openai_api"], "vendors.openai.base_url": vendor.base_url}
    )


def _is_answered(caller: Caller, times: int) -> bool:
    return len(caller.told("turn.assistant_ended")) >= times or bool(caller.told("stream.ended"))


async def call_until_over(socket: Socket, most: int = 60) -> tuple[int, Any]:
    """Have a model that speaks itself answer again and again; gives how often it did, and the end of the call."""
    accepted = await socket.ask("realtime.start", model=SPEAKING, modalities=["text"], store=False)
    if accepted["type"] == "rejected":
        return 0, accepted
    caller = Caller(socket, accepted)
    for turn in range(1, most + 1):
        asked = await caller.do("text", text="Where is the boat?"), await caller.do("answer")
        if any(told["type"] == "rejected" for told in asked):
            break
        await socket.until(partial(_is_answered, caller, turn), "an answer")
        if caller.told("stream.ended"):
            break
    else:
        await caller.do("finish")
    return len(caller.told("turn.assistant_ended")), await socket.end_of(caller.stream)


@pytest.mark.parametrize("auth", [KEYS, {}], ids=["keys", "local"])
@pytest.mark.parametrize(("unit", "amount"), [("--day-tokens", "6000"), ("--day", "0.2")])
async def test_a_call_ends_before_an_answer_that_its_budget_does_not_pay(
    start: Start, realtime: OpenAIRealtimeEmulator, auth: dict[str, Any], unit: str, amount: str
) -> None:
    realtime.answers.extend([Answers("In the harbour.")] * 600)
    server = calling(start, realtime, auth)
    name = "ann" if auth else "local"
    headers = {"Authorization": f"Bearer {key_for(server, 'ann')}"} if auth else {}
    server.run("budgets", "set", f"principal:{name}", unit, amount)
    used, calls = Decimal(0), 0
    async with connected(server.url, headers=headers) as socket:
        while (found := await call_until_over(socket))[0]:
            answers, ended = found
            calls += 1
            assert answers < 60
            assert (ended["status"], ended["error"]["code"]) == ("failed", "budget_exceeded")
            assert ended["usage"]["output_tokens"] == 40 * answers
            tokens = ended["usage"]["input_tokens"] + ended["usage"]["output_tokens"]
            used += Decimal(tokens if "tokens" in unit else ended["cost"]["amount"])
    # The next call has no context yet, so that its answers may still be paid for.
    assert 1 <= calls <= 10
    assert found[1]["error"]["code"] == "budget_exceeded"
    assert 0 < used <= Decimal(amount)
    assert used > Decimal(amount) / 2
    bounds = [session.settings["max_output_tokens"] for session in realtime.sessions]
    assert bounds == sorted(bounds, reverse=True)
    assert 64 <= bounds[-1] <= bounds[0] <= 4096


async def test_an_answer_that_is_hung_up_on_is_counted(start: Start, realtime: OpenAIRealtimeEmulator) -> None:
    server = calling(start, realtime, {})
    hold = Hold()
    realtime.answers.append(Answers("In the harbour of the town.", hold=hold))
    async with connected(server.url) as socket:
        accepted = await socket.ask("realtime.start", model=SPEAKING, sample_rate=24_000, store=False)
        caller = Caller(socket, accepted)
        await caller.do("text", text="Where is the boat?")
        await caller.do("answer")
        await caller.until("turn.assistant_started")
        await caller.do("finish")
        ended = await socket.end_of(caller.stream)
    hold.release()
    assert ended["usage"]["estimated"] is True
    assert ended["usage"]["input_tokens"] > 0
    assert ended["usage"]["output_tokens"] > 0
    assert Decimal(ended["cost"]["amount"]) > 0


async def put_aside(server: RunningServer, stream: str) -> None:
    """Return when the turn's row says what it may cost."""
    async with asyncio.timeout(10):
        while True:
            with closing(sqlite3.connect(server.database)) as database:
                row = database.execute("SELECT reserved_cost FROM turns WHERE stream = ?", (stream,)).fetchone()
            if row is not None and row[0] is not None:
                return
            await asyncio.sleep(0.05)


async def test_what_a_killed_turn_may_have_cost_counts(start: Start, vendor: OpenAIEmulator) -> None:
    server = start(KEYS)
    key = key_for(server, "ann")
    server.run("budgets", "set", "principal:ann", "--day", "100")
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(server.url, headers={"Authorization": f"Bearer {key}"}) as socket:
        heard = await socket.chat("Count", model=MODEL, key="once", max_output_tokens=1000)
        await socket.text_of(heard.stream, "one ")
        await put_aside(server, heard.stream)
        server.kill()
        hold.release()
    await asyncio.to_thread(server.start)
    used = spent(server)
    assert used > 0
    [line] = [line for line in server.run("budgets", "list").splitlines() if line.startswith("principal:ann")]
    assert line.split() == [
        "principal:ann",
        "day",
        "100",
        str(used),
        "0",
        str(100 - used),
        "dollars",
    ]
