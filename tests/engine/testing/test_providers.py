"""The fakes do as they are told."""

import asyncio

import pytest

from engine.api import Finish, NotOwner, ProviderUnavailable, TextDelta, Usage
from engine.api.streams import Writer
from engine.testing import FailingProvider, RecordingWriter, ScriptedProvider, answer, ask


async def play(provider: ScriptedProvider) -> list[object]:
    return [deltas async for deltas in provider.stream(ask())]


async def test_a_script_is_played_for_every_request() -> None:
    provider = ScriptedProvider("a", [TextDelta("b"), TextDelta("c")], *answer(usage=Usage(output_tokens=3)))
    expected = [TextDelta("a"), [TextDelta("b"), TextDelta("c")], Usage(output_tokens=3), Finish("stop")]
    assert await play(provider) == await play(provider) == expected
    assert len(provider.requests) == 2


async def test_a_script_waits_for_its_event() -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(gate, "open")
    task = asyncio.create_task(play(provider))
    await provider.reached.wait()
    assert not task.done()
    gate.set()
    assert await task == [TextDelta("open")]


async def test_a_failing_provider_recovers_after_its_failures() -> None:
    provider = FailingProvider(ProviderUnavailable("down"), 1, "up")
    with pytest.raises(ProviderUnavailable):
        await play(provider)
    assert await play(provider) == [TextDelta("up")]


async def test_the_writer_remembers_events_lanes_and_figures() -> None:
    recording = RecordingWriter()
    writer: Writer = recording
    writer.text("a")
    writer.status("searching", "the web")
    writer.extend([TextDelta("b"), Usage(), Finish("stop")])
    writer.meter(model="m")
    writer.meter(usage=Usage(output_tokens=1))
    async with writer.lane("speech", rate=16000) as lane:
        lane.audio(b"..")
    with pytest.raises(NotOwner):
        async with writer.lane("broken"):
            raise NotOwner("gone")
    kinds = [type(event).__name__ for event in recording.events]
    lanes = ["LaneStarted", "Audio", "LaneEnded", "LaneStarted", "LaneEnded"]
    assert kinds == ["TextDelta", "StatusChanged", "TextDelta", *lanes]
    assert (recording.said, recording.model, recording.usage) == ("ab", "m", Usage(output_tokens=1))
    assert recording.statuses == [("searching", "the web")]
