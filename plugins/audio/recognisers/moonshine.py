"""Moonshine as two graphs of onnxruntime and a table of tokens: the second choice, half of Whisper's memory.

Its encoder takes the samples as they are, so that a short utterance costs what it is long.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from plugins.audio.recognisers.recogniser import RATE, Samples, Transcript

START, STOP = 1, 2
TOKENS_A_SECOND = 6.5
_SPECIAL = b"<"


class Moonshine:
    """A loaded model, English."""

    languages = ("en",)
    longest = 25.0

    def __init__(self, folder: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder_model.ort"), options, providers=providers)
        self._decoder = onnxruntime.InferenceSession(
            str(folder / "decoder_model_merged.ort"), options, providers=providers
        )
        self._tokens = list(_strings((folder / "tokenizer.bin").read_bytes()))
        names = [each.name for each in self._decoder.get_inputs()]
        self._cached = [name for name in names if name.startswith("past_key_values.")]
        shape = next(each.shape for each in self._decoder.get_inputs() if each.name == self._cached[0])
        self._heads, self._size = int(shape[1]), int(shape[3])

    def transcribe(self, samples: Samples, language: str | None, *, quick: bool, words: bool) -> Transcript:
        """Write down one utterance; it knows no times of words."""
        audio = samples[None]
        # As long as the samples, also for the decoder, whatever the encoder made of them.
        mask = np.ones(audio.shape, dtype=np.int64)
        [hidden] = self._encoder.run(None, {"input_values": audio, "attention_mask": mask})
        empty = np.zeros((1, self._heads, 0, self._size), dtype=np.float32)
        cache: dict[str, Any] = dict.fromkeys(self._cached, empty)
        token, tokens, total = START, list[int](), 0.0
        for step in range(int(len(samples) / RATE * TOKENS_A_SECOND) + 2):
            given = {
                "input_ids": np.array([[token]], dtype=np.int64),
                "encoder_hidden_states": hidden,
                "encoder_attention_mask": mask,
                "use_cache_branch": np.array([step > 0]),
            }
            logits, *present = self._decoder.run(None, {**given, **cache})
            last = logits[0, -1]
            token = int(last.argmax())
            total += float(last[token] - last.max() - np.log(np.exp(last - last.max()).sum()))
            if token == STOP:
                break
            tokens.append(token)
            made = zip(self._cached, present, strict=True)
            # What it has of the encoder is made in the first step and empty in those that follow.
            cache |= {name: value for name, value in made if step == 0 or ".decoder." in name}
        return Transcript(self._text(tokens), total / max(1, len(tokens)))

    def _text(self, tokens: list[int]) -> str:
        pieces = (self._tokens[each] for each in tokens if each < len(self._tokens))
        return b"".join(_spoken(piece) for piece in pieces).decode(errors="replace").strip()


def _spoken(piece: bytes) -> bytes:
    """SentencePiece's form of a token as text: a lower block for a blank, `<0x0A>` for a byte."""
    if piece.startswith(b"<0x") and len(piece) == len(b"<0x00>"):
        return bytes([int(piece[3:5], 16)])
    return b"" if piece.startswith(_SPECIAL) and piece.endswith(b">") else piece.replace("▁".encode(), b" ")


def _strings(data: bytes) -> Iterator[bytes]:
    """Strings one behind the other, each after its length: a byte, or two (low seven bits first) from 128 on."""
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size >= 128:
            size = data[at] * 128 + size - 128
            at += 1
        yield data[at : at + size]
        at += size
