"""Kokoro-82M by its files: a graph of onnxruntime, and a table for each voice. English, with Hibari's phonemes.

It takes most of a core to speak as fast as one speaks: for machines with cores to spare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hibari
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from plugins.tts.voices.phonemes import LEAD, English
from plugins.tts.voices.voice import levelled, trimmed
from plugins.vendors.model_child import CannotLoad

STYLE = 256
"""Numbers of a voice for one length of text."""

GAIN = 1.4


class Kokoro:
    """A loaded model and its voices."""

    rate = 24_000

    def __init__(self, folder: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        graph = next(iter(sorted(folder.glob("*.onnx"))), None)
        if graph is None:
            raise CannotLoad(f"{folder} holds no *.onnx")
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name: each.type for each in self._session.get_inputs()}
        # The alphabet is Kokoro's own, which Hibari has from it.
        self._ids: dict[str, int] = json.loads(
            Path(hibari.__file__).with_name("assets").joinpath("vocab.json").read_text(encoding="utf-8")
        )
        self._styles = _styles(folder)
        self._english = {"a": English(), "b": English(british=True)}

    def blocks(self, text: str, voice: str, speed: float) -> Iterator[bytes]:
        """See `LoadedVoice`; the first letter of a voice is its accent."""
        for block in self._english[voice[0]].blocks(text):
            samples = self._spoken(block.phonemes, self._styles[voice], speed)
            yield levelled(trimmed(samples, self.rate, LEAD, block.tail), GAIN)

    def _spoken(self, phonemes: str, styles: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
        ids = [self._ids[each] for each in phonemes if each in self._ids]
        given: dict[str, Any] = {}
        for name, type in self._inputs.items():
            if name == "style":
                given[name] = styles[min(len(ids), len(styles) - 1)][None]
            elif name == "speed":
                given[name] = np.array([speed], dtype=np.float32 if "float" in type else np.int32)
            else:
                given[name] = np.array([[0, *ids, 0]], dtype=np.int64)
        made = self._session.run(None, given)[0]
        return np.asarray(made, dtype=np.float32).reshape(-1)


def _styles(folder: Path) -> dict[str, NDArray[np.float32]]:
    """By voice: out of one file of NumPy's, or a file of plain numbers for each."""
    packed = [*folder.glob("voices*.npz"), *folder.glob("voices*.bin")]
    if packed:
        with np.load(packed[0]) as table:
            return {name: np.asarray(table[name], dtype=np.float32).reshape(-1, STYLE) for name in table.files}
    single = sorted(folder.joinpath("voices").glob("*.bin"))
    return {path.stem: np.fromfile(path, dtype="<f4").reshape(-1, STYLE) for path in single}
