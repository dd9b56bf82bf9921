"""However writers, cancels, watchers and the database interleave, every stream ends exactly once, and last."""

from __future__ import annotations

import asyncio
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api.commands import Closing
from engine.api.errors import NotOwner, ProviderUnavailable
from engine.api.events import MessageSaved, StreamEnded
from engine.api.identity import LOCAL
from engine.api.streams import OnDisconnect, Writer, parse_on_disconnect
from engine.bus.bus import Bus
from engine.bus.stream import Cursor, Stream
from engine.sessions.ledger import Ledger
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandTable
from engine.testing.clock import virtual_time
from tests.engine.sessions.commands import Script, command
from tests.engine.sessions.memory_database import MemoryDatabase

Step = Literal["say", "lane", "sleep", "fail", "crash", "swallow", "return"]
Event = Literal["cancel", "watch", "leave", "second", "turn", "hold", "release", "away", "back", "hurry"]

works = st.lists(st.sampled_from(["say", "say", "lane", "sleep", "fail", "crash", "swallow", "return"]), max_size=6)
stories = st.lists(
    st.sampled_from(["cancel", "watch", "leave", "second", "turn", "hold", "release", "away", "back", "hurry"]),
    max_size=12,
)
policies: st.SearchStrategy[OnDisconnect] = st.sampled_from(["continue", "cancel", {"cancel_after": 2}]).map(
    parse_on_disconnect
)


async def work(stream: Writer, steps: list[Step]) -> None:
    for step in steps:
        match step:
            case "say":
                stream.text("word ")
            case "lane":
                async with stream.lane("speech") as lane:
                    lane.audio(b"pcm")
                    await asyncio.sleep(0.5)
            case "sleep":
                await asyncio.sleep(1)
            case "fail":
                raise ProviderUnavailable("cut off")
            case "crash":
                raise RuntimeError("a bug")
            case "swallow":
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    await asyncio.sleep(7)
            case "return":
                return


@settings(max_examples=60, deadline=None)
@given(works, stories, policies, st.booleans(), st.booleans())
def test_a_stream_ends_once_and_frees_what_it_held_once(
    steps: list[Step], story: list[Event], policy: OnDisconnect, saving: bool, bad_closing: bool
) -> None:
    with virtual_time() as runner:
        runner.run(live(steps, story, policy, saving, bad_closing))


async def live(steps: list[Step], story: list[Event], policy: OnDisconnect, saving: bool, bad_closing: bool) -> None:
    rows = MemoryDatabase()
    script = Script(lambda stream: work(stream, steps))
    script.closing = lambda _: Closing(event=MessageSaved(conversation="\ud83d" if bad_closing else "c", message="m"))
    bus = Bus(clock=asyncio.get_running_loop().time)
    supervisor = Supervisor(bus, ledger=Ledger(rows, "me", embedded=True) if saving else None)
    supervisor.table = CommandTable([("test", command(script))])
    stream = await supervisor.start(LOCAL, "chat.send", {}, on_disconnect=policy)
    assert isinstance(stream, Stream)
    cursors: list[Cursor] = []
    for event in story:
        await tell(event, supervisor, stream, rows, cursors)
    rows.away = False
    rows.release()
    async with asyncio.timeout(120):
        await supervisor.reader(stream).ended()
        await asyncio.sleep(20)
    check(stream, script)
    if saving:
        supervisor.ledger.retry_unsaved()  # type: ignore[union-attr]
        await asyncio.sleep(1)
        assert stream.ended is not None
        assert [row["status"] for row in rows.rows()] == [stream.ended.status]
    rows.close()


async def tell(
    event: Event, supervisor: Supervisor, stream: Stream, rows: MemoryDatabase, cursors: list[Cursor]
) -> None:
    match event:
        case "cancel":
            await supervisor.cancel(LOCAL, stream.id)
        case "watch":
            cursors.append(stream.subscribe(0, lambda _: None))
        case "leave" if cursors:
            cursors.pop().close()
        case "second":
            await asyncio.sleep(1)
        case "turn":
            await asyncio.sleep(0)
        case "hold":
            rows.held = True
        case "release":
            rows.release()
        case "away" | "back":
            rows.away = event == "away"
        case "hurry":
            supervisor.hurry()


def check(stream: Stream, script: Script) -> None:
    entries = stream.log.read(0, 1000)
    assert [entry.n for entry in entries] == list(range(1, stream.n + 1))
    ends = [entry.n for entry in entries if isinstance(entry.event, StreamEnded)]
    assert ends == [stream.n]
    assert script.released == len(script.endings) == 1
    ended, ending = stream.ended, script.endings[0]
    assert ended is not None
    assert (ended.status, ended.reason) == (ending.status, ending.reason)
    assert ending.said.text == stream.said.text
    assert (ended.status == "completed") == (ended.reason == "done")
    assert (ended.error is not None) == (ended.status == "failed")
    try:
        stream.publish(object(), StreamEnded(status="failed", reason="internal"))  # type: ignore[arg-type]
    except NotOwner:
        return
    raise AssertionError("a stranger wrote to the stream")
