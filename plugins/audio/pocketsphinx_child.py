"""A program that listens with pocketsphinx: audio on standard input, what it hears as lines of JSON on standard output.

Input: pieces of mono samples of 16 bits, 16,000 a second, each after its length in bytes (u32, big-endian); length 0 is the
end. What it hears in a piece is told before `{"taken": true}`.

It is run by its path, so that it starts fast, and alone on a core: it computes for a fifth of the time that is spoken.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any

RATE = 16_000
PARTIAL_EVERY = 0.2
"""Seconds of speech from one look at what was heard so far to the next."""

FILLERS = ("<", "[", "++")


def main() -> int:
    """Listen to the end; the status is that of the program."""
    # The model takes a third of a second to load, and is in this program alone.
    from pocketsphinx import Decoder, Endpointer

    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    endpointer = Endpointer(sample_rate=RATE)
    listener = Listener(decoder, endpointer)
    tell({"ready": True})
    while (piece := read_piece()) is not None:
        listener.hear(piece)
        tell({"taken": True})
    listener.end()
    return 0


class Listener:
    """Cuts the audio into stretches of speech and tells what each says."""

    def __init__(self, decoder: Any, endpointer: Any) -> None:
        self._decoder = decoder
        self._endpointer = endpointer
        self._frame = endpointer.frame_bytes
        self._rest = b""
        self._speaking = False
        self._begun = 0.0
        self._since = 0.0
        self._told = ""

    def hear(self, pcm: bytes) -> None:
        """Take a piece of any length."""
        data = self._rest + pcm
        whole = len(data) // self._frame * self._frame
        for at in range(0, whole, self._frame):
            speech = self._endpointer.process(data[at : at + self._frame])
            if speech is not None:
                self._speech(speech, self._endpointer.in_speech)
        self._rest = data[whole:]

    def end(self) -> None:
        """No more comes: what is still open is told."""
        # It wants a frame of at least one sample.
        speech = self._endpointer.end_stream(self._rest or bytes(2))
        if speech is not None:
            self._speech(speech, False)
        elif self._speaking:
            self._finish()

    def _speech(self, speech: bytes, goes_on: bool) -> None:
        if not self._speaking:
            self._speaking, self._told, self._since = True, "", 0.0
            self._begun = self._endpointer.speech_start
            self._decoder.start_utt()
        self._decoder.process_raw(speech, no_search=False, full_utt=False)
        self._since += len(speech) / 2 / RATE
        if not goes_on:
            self._finish()
        elif self._since >= PARTIAL_EVERY:
            self._since = 0.0
            hypothesis = self._decoder.hyp()
            if hypothesis is not None and hypothesis.hypstr and hypothesis.hypstr != self._told:
                self._told = hypothesis.hypstr
                tell({"text": hypothesis.hypstr, "final": False, "start": round(self._begun, 2)})

    def _finish(self) -> None:
        self._decoder.end_utt()
        self._speaking = False
        hypothesis = self._decoder.hyp()
        if hypothesis is None or not hypothesis.hypstr:
            return
        words = [
            {
                "text": segment.word.partition("(")[0],
                "start": round(self._begun + segment.start_frame / 100, 2),
                "end": round(self._begun + (segment.end_frame + 1) / 100, 2),
            }
            for segment in self._decoder.seg()
            if not segment.word.startswith(FILLERS)
        ]
        told = {"text": hypothesis.hypstr, "final": True, "words": words, "start": round(self._begun, 2)}
        tell({**told, "end": words[-1]["end"] if words else round(self._begun, 2)})


def read_piece() -> bytes | None:
    """The next piece; None at the end."""
    header = sys.stdin.buffer.read(4)
    size = struct.unpack(">I", header)[0] if len(header) == 4 else 0
    return sys.stdin.buffer.read(size) if size else None


def tell(what: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
