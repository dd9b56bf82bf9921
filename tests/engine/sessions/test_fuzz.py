"""Whatever comes in, a session answers each frame once and lives on."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.testing.clock import virtual_time
from engine.testing.session import SessionKit, answers
from tests.engine.sessions.commands import Script, command, echo

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
names = st.sampled_from(
    [
        "ping",
        "chat.send",
        "tool.echo",
        "stream.resume",
        "stream.cancel",
        "stream.detach",
        "session.configure",
        "session.authenticate",
        "chat",
        "",
    ]
)
fields = st.sampled_from(
    ["id", "key", "stream", "after", "input", "text", "join", "lanes", "on_disconnect", "type", "x"]
)
commands = st.builds(
    lambda name, rest: {"type": name, **rest}, names | values, st.dictionaries(fields, values, max_size=5)
).map(json.dumps)
sensible = st.sampled_from(
    [
        {"type": "ping"},
        {"type": "chat.send", "input": "hi"},
        {"type": "chat.send", "input": "hi", "key": "k"},
        {"type": "session.configure", "join": True, "lanes": ["speech"]},
        {"type": "tool.echo", "text": "crash"},
    ]
).map(json.dumps)
frames = st.one_of(commands, sensible, values.map(json.dumps), st.text(max_size=40), st.binary(max_size=60))


@settings(max_examples=100, deadline=None)
@given(st.lists(frames, max_size=12))
def test_every_frame_is_answered_once_and_the_session_lives_on(sent: list[str | bytes]) -> None:
    async def run() -> None:
        script = Script()
        async with SessionKit(command(script), echo()) as kit:
            await kit.send(*sent, {"type": "ping", "id": "the last one, which nothing else is called"})
            await kit.frame(type="pong", re="the last one, which nothing else is called")
            await kit.send({"type": "chat.send", "id": "after all starts"})
            await kit.frame(re="after all starts")
            given_answers = answers(kit.frames)
            assert len(given_answers) == len(sent) + 2
            assert {frame["type"] for frame in kit.frames} <= KNOWN
            for frame in given_answers:
                if frame["type"] == "rejected":
                    assert frame["error"]["message"]
                    assert frame["error"]["code"] != "internal" or "crash" in str(sent)

    with virtual_time() as runner:
        runner.run(run())


KNOWN = {
    "session.ready",
    "accepted",
    "rejected",
    "pong",
    "stream.started",
    "text.delta",
    "stream.ended",
    "stream.detached",
    "stream.snapshot",
}
