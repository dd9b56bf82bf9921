"""Whose utterance is heard first, where one model serves many recordings."""

from __future__ import annotations

from plugins.audio.hearing_jobs import Jobs, Line, Rank


def order(jobs: Jobs[str], count: int) -> list[str]:
    done: list[str] = []
    for _ in range(count):
        jobs.work(lambda line, job: done.append(job))
    return done


def test_the_end_of_speech_goes_before_a_look_and_a_look_before_a_recording() -> None:
    jobs: Jobs[str] = Jobs()
    for rank, job in ((Rank.RECORDED, "recorded"), (Rank.PARTIAL, "look"), (Rank.FINAL, "end")):
        jobs.put(jobs.open(), rank, job)
    assert order(jobs, 3) == ["end", "look", "recorded"]


def test_recordings_take_turns() -> None:
    jobs: Jobs[str] = Jobs()
    first, second = jobs.open(), jobs.open()
    for job in ("a1", "a2"):
        jobs.put(first, Rank.RECORDED, job)
    jobs.put(second, Rank.RECORDED, "b1")
    jobs.put(first, Rank.RECORDED, "a3")
    assert order(jobs, 4) == ["a1", "a2", "b1", "a3"]


def test_one_recording_is_heard_by_one_at_a_time() -> None:
    jobs: Jobs[str] = Jobs()
    first, second = jobs.open(), jobs.open()
    for line, job in ((first, "a1"), (first, "a2"), (second, "b1")):
        jobs.put(line, Rank.FINAL, job)
    within: list[str] = []

    def inside(line: Line[str], job: str) -> None:
        jobs.work(lambda line, job: within.append(job))

    jobs.work(inside)
    assert within == ["b1"]
    assert order(jobs, 1) == ["a2"]


def test_a_look_that_nobody_has_begun_gives_way() -> None:
    jobs: Jobs[str] = Jobs()
    line = jobs.open()
    jobs.put(line, Rank.PARTIAL, "look 1")
    jobs.put(line, Rank.PARTIAL, "look 2", replaces=lambda job: job.startswith("look"))
    jobs.put(line, Rank.FINAL, "end", replaces=lambda job: job.startswith("look"))
    assert order(jobs, 1) == ["end"]
    assert jobs.idle(line)


def test_nothing_of_a_closed_line_is_done() -> None:
    jobs: Jobs[str] = Jobs()
    line, other = jobs.open(), jobs.open()
    jobs.put(line, Rank.FINAL, "a")
    jobs.close(line)
    jobs.put(line, Rank.FINAL, "b")
    jobs.put(other, Rank.RECORDED, "c")
    assert order(jobs, 1) == ["c"]
