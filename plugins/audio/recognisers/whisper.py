"""Whisper in CTranslate2's form: any folder that faster-whisper reads.

CTranslate2 takes fewer frames than the 3,000 (30 s) that Whisper was trained on, which makes a sentence four times as quick.
A window as short as the speech makes the model repeat itself, so the window has a floor and a second of silence at its
end; what still looks wrong is heard again in the full window.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from plugins.audio.recognisers.mel import FRAMES, log_mel
from plugins.audio.recognisers.recogniser import RATE, Samples, TimedWord, Transcript

FULL_WINDOW = 30.0
SHORT_WINDOW = 10.0
TAIL = 1.0
"""Seconds of silence after the speech."""

BEAM = 5
TOKENS_A_SECOND = 8
MOST_TOKENS = 448
"""Whisper's own bound of prompt and text together; half of it may be text."""

LIKELY_TOKENS = (7.0, 10)
"""Tokens a second, and more: beyond it the model invents."""

LEAST_SCORE = -0.8
"""A mean logarithm of probability below which the model guesses."""

_REPEATED = re.compile(r"\b(\S+(?:\s+\S+){0,3})(?:\s+\1\b){2}|^(\S+(?:\s+\S+){2,})\s+\2$", re.IGNORECASE)
"""A few words three times running, or all of it twice."""

_SPECIAL = re.compile(r"<\|.*?\|>")
_LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")
_WRITE_DOWN = "<|transcribe|>"


class Whisper:
    """A loaded model; `threads` compute for one utterance, and as many utterances at once as there are callers."""

    longest = FULL_WINDOW - TAIL

    def __init__(self, folder: Path, *, threads: int, callers: int) -> None:
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=threads, inter_threads=callers
        )
        self._tokens = _Vocabulary.of(folder / "tokenizer.json")
        self._bands = _bands(folder)
        self.languages = self._tokens.languages if self._model.is_multilingual else ("en",)

    def transcribe(self, samples: Samples, language: str | None, *, quick: bool, words: bool) -> Transcript:
        """Write down one utterance of at most `longest` seconds."""
        seconds = len(samples) / RATE
        beam = 1 if quick else BEAM
        heard = self._hear(samples, language, max(SHORT_WINDOW, seconds + TAIL), beam, words=words)
        if not quick and seconds + TAIL < FULL_WINDOW and self._is_doubtful(heard, seconds):
            heard = self._hear(samples, language, FULL_WINDOW, BEAM, words=words)
        return heard.transcript

    def _hear(self, samples: Samples, language: str | None, window: float, beam: int, *, words: bool) -> _Heard:
        padded = np.zeros(int(min(window, FULL_WINDOW) * RATE), dtype=np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        mel = log_mel(padded, self._bands)
        encoded = self._model.encode(ctranslate2.StorageView.from_array(mel[None]), to_cpu=True)
        prompt = self._prompt(encoded, language)
        longest = min(MOST_TOKENS, int(len(samples) / RATE * TOKENS_A_SECOND) + 16 + len(prompt))
        [result] = self._model.generate(
            encoded, [prompt], beam_size=beam, max_length=longest, return_scores=True, suppress_blank=True
        )
        ids = [id for id in result.sequences_ids[0] if id < self._tokens.first_special]
        text = self._tokens.text(ids)
        timed = self._timed(encoded, prompt, ids, len(samples)) if words and ids else ()
        return _Heard(Transcript(text, result.scores[0], timed), len(ids))

    def _is_doubtful(self, heard: _Heard, seconds: float) -> bool:
        rate, more = LIKELY_TOKENS
        transcript = heard.transcript
        return (
            transcript.score < LEAST_SCORE
            or heard.tokens > rate * seconds + more
            or _REPEATED.search(transcript.text) is not None
        )

    def _prompt(self, encoded: Any, language: str | None) -> list[int]:
        if not self._model.is_multilingual:
            return self._tokens.prompt(())
        if language is None:
            [[(found, _), *_]] = self._model.detect_language(encoded)
            return self._tokens.prompt((found, _WRITE_DOWN))
        return self._tokens.prompt((f"<|{language}|>", _WRITE_DOWN))

    def _timed(self, encoded: Any, prompt: list[int], ids: Sequence[int], samples: int) -> tuple[TimedWord, ...]:
        frames = min(samples * FRAMES // RATE, int(FULL_WINDOW * FRAMES))
        [found] = self._model.align(encoded, prompt, [list(ids)], frames, median_filter_width=7)
        # A frame of the encoder is two of the spectrogram.
        starts: dict[int, float] = {}
        for token, frame in found.alignments:
            starts.setdefault(token, frame * 2 / FRAMES)
        ends = [starts.get(at, samples / RATE) for at in range(1, len(ids) + 1)]
        pieces = [self._tokens.pieces[id] for id in ids]
        return tuple(_words(pieces, [starts.get(at, 0.0) for at in range(len(ids))], ends))


class _Heard:
    __slots__ = ("tokens", "transcript")

    def __init__(self, transcript: Transcript, tokens: int) -> None:
        self.transcript = transcript
        self.tokens = tokens


def _words(pieces: Sequence[bytes], starts: Sequence[float], ends: Sequence[float]) -> Iterator[TimedWord]:
    """Tokens joined into words: each begins with a blank."""
    firsts = [at for at, piece in enumerate(pieces) if not at or piece.startswith(b" ")]
    for first, behind in pairwise([*firsts, len(pieces)]):
        text = b"".join(pieces[first:behind]).decode(errors="replace").strip()
        if text:
            yield TimedWord(text, round(starts[first], 2), round(max(starts[first], ends[behind - 1]), 2))


class _Vocabulary:
    """The tokens of a model as the bytes that they stand for."""

    def __init__(self, pieces: dict[int, bytes], special: dict[str, int]) -> None:
        self.pieces = pieces
        self._special = special
        self.first_special = min(special.values())

    @classmethod
    def of(cls, path: Path) -> _Vocabulary:
        """Read `tokenizer.json`, whose vocabulary spells bytes by GPT-2's table of characters."""
        table = json.loads(path.read_text(encoding="utf-8"))
        byte_of = _byte_table()
        special = {each["content"]: each["id"] for each in table["added_tokens"]}
        pieces = {
            id: bytes(byte_of[character] for character in token)
            for token, id in table["model"]["vocab"].items()
            if token not in special and all(character in byte_of for character in token)
        }
        return cls(pieces, {name: id for name, id in special.items() if _SPECIAL.fullmatch(name)})

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens say."""
        return b"".join(self.pieces.get(id, b"") for id in ids).decode(errors="replace").strip()

    def prompt(self, names: Sequence[str]) -> list[int]:
        """What tells the model to write down without times; `names` stand in its middle."""
        return [self._special[name] for name in ("<|startoftranscript|>", *names, "<|notimestamps|>")]

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639 codes that there is a token for."""
        return tuple(name[2:-2] for name in self._special if _LANGUAGE.fullmatch(name))


def _byte_table() -> dict[str, int]:
    """GPT-2's characters for bytes: those that can be printed stand for themselves, the rest from U+0100 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


def _bands(folder: Path) -> int:
    """Mel bands: 80, or what the model's own note says (128 for large-v3)."""
    note = folder / "preprocessor_config.json"
    return int(json.loads(note.read_text(encoding="utf-8")).get("feature_size", 80)) if note.exists() else 80
