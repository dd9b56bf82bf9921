"""The program that speaks on this machine: one model for all speeches, run by `plugins.vendors.model_process`.

Each exchange is a text, opened with `{"text", "voice", "speed"}` and answered with its sound as `DATA`, samples of 16 bits,
some seconds at a time. One thread computes; it takes the speech next of which the least was made, so that a new one is heard
early whoever else speaks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from plugins.tts.voices.loading import load_voice
from plugins.tts.voices.voice import LoadedVoice
from plugins.vendors.model_child import Replies, check_files, run
from plugins.vendors.model_frames import DATA, LEFT, OPEN

WARM_UP = "Hello there, brillig."
"""Spoken once when the model is loaded: its first sentence, and its first word that no list has, are slow."""


def main() -> int:
    """Serve until standard input ends."""
    sys.addaudithook(refuse_network)
    return run(_load)


def _load(order: dict[str, Any], replies: Replies) -> Speaker:
    path = Path(order["path"])
    check_files(path if path.is_dir() else path.parent, order["sha256"])
    voice = load_voice(order["kind"], path, threads=order["threads"])
    for _ in voice.blocks(WARM_UP, order["voice"], 1.0):
        pass
    return Speaker(voice, replies, order["name"])


@dataclass(slots=True)
class _Speech:
    number: int
    blocks: Iterator[bytes]
    made: int = 0
    """Bytes."""


class Speaker:
    """All speeches that are open."""

    def __init__(self, voice: LoadedVoice, replies: Replies, name: str) -> None:
        self.description = {"name": name, "rate": voice.rate}
        self._voice = voice
        self._replies = replies
        self._speeches: dict[int, _Speech] = {}
        self._changed = Condition()
        Thread(target=self._speak, daemon=True).start()

    def take(self, number: int, kind: int, payload: bytes) -> None:
        """A frame of the server."""
        if kind == OPEN:
            wanted = json.loads(payload)
            if not wanted.get("warm"):
                blocks = self._voice.blocks(wanted["text"], wanted["voice"], wanted["speed"])
                with self._changed:
                    self._speeches[number] = _Speech(number, blocks)
                    self._changed.notify()
        elif kind == LEFT:
            self._drop(number)

    def _drop(self, number: int) -> bool:
        """Whether it was still there."""
        with self._changed:
            return self._speeches.pop(number, None) is not None

    def _speak(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._speeches))
                speech = min(self._speeches.values(), key=lambda each: (each.made, each.number))
            try:
                block = next(speech.blocks, None)
            except Exception as error:
                self._drop(speech.number)
                self._replies.fail(speech.number, f"The voice failed: {type(error).__name__}: {error}")
                continue
            if block is None:
                self._drop(speech.number)
                self._replies.end(speech.number)
            elif speech.number in self._speeches:
                # An empty block is a step, too, so that nobody is put off by one that has none but these.
                speech.made += len(block) or 1
                self._replies.send(speech.number, DATA, block)


def refuse_network(event: str, _: tuple[Any, ...]) -> None:
    """Nothing that a voice needs is fetched, whatever its library would do by itself."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError("a voice of this machine does not use the network")


if __name__ == "__main__":
    sys.exit(main())
