"""Whisper in the form of whisper.cpp: one file, `ggml-….bin`."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from plugins.audio.recognisers.recogniser import Samples, TimedWord, Transcript

TICKS = 100.0
"""Its times are hundredths of a second."""


class WhisperCpp:
    """A loaded model; it has one state, so that callers take turns."""

    longest = 29.0

    def __init__(self, path: Path, *, threads: int) -> None:
        # The library is none of our extras: whoever names a model of its kind installs it.
        from pywhispercpp.model import Model

        self._model = Model(str(path), n_threads=threads, print_progress=False, print_realtime=False)
        self._lock = Lock()
        english = path.stem.endswith(".en") or ".en-" in path.stem
        self.languages = ("en",) if english else tuple(self._model.available_languages())

    def transcribe(self, samples: Samples, language: str | None, *, quick: bool, words: bool) -> Transcript:
        """Write down one utterance."""
        with self._lock:
            spoken = language or ("en" if self.languages == ("en",) else "auto")
            segments = self._model.transcribe(
                samples, language=spoken, token_timestamps=words, max_len=1 if words else 0, split_on_word=words
            )
        pieces = [each.text.strip() for each in segments]
        text = " ".join(piece for piece in pieces if piece)
        timed = (
            TimedWord(piece, each.t0 / TICKS, each.t1 / TICKS) for piece, each in zip(pieces, segments, strict=True)
        )
        return Transcript(text, words=tuple(word for word in timed if word.text) if words else ())
