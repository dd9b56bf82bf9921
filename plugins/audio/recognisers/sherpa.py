"""Models of sherpa-onnx, by the files that lie in their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugins.audio.recognisers.recogniser import RATE, Samples, Transcript
from plugins.vendors.model_child import CannotLoad


class Sherpa:
    """A loaded model that hears whole utterances."""

    longest = 25.0

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._recogniser, self.languages = _load(folder, threads)

    def transcribe(self, samples: Samples, language: str | None, *, quick: bool, words: bool) -> Transcript:
        """Write down one utterance."""
        stream = self._recogniser.create_stream()
        stream.accept_waveform(RATE, samples)
        self._recogniser.decode_stream(stream)
        return Transcript(stream.result.text.strip())


def _load(folder: Path, threads: int) -> tuple[Any, tuple[str, ...]]:
    # The library is none of our extras: whoever names a model of its kind installs it.
    import sherpa_onnx

    offline = sherpa_onnx.OfflineRecognizer
    tokens = str(_one(folder, "*tokens.txt"))
    part = {
        name: path
        for name in ("encoder", "decoder", "joiner", "preprocess", "encode", "uncached_decode", "cached_decode")
        if (path := _any(folder, f"*{name}*.onnx")) is not None
    }
    common = {"tokens": tokens, "num_threads": threads}
    if "joiner" in part:
        model = offline.from_transducer(
            encoder=part["encoder"], decoder=part["decoder"], joiner=part["joiner"], **common
        )
        return model, ("en",)
    if "encoder" in part and "decoder" in part:
        return offline.from_whisper(encoder=part["encoder"], decoder=part["decoder"], **common), ("en",)
    single = str(_one(folder, "*.onnx"))
    if "sense" in folder.name.lower():
        return offline.from_sense_voice(model=single, **common), ("zh", "en", "ja", "ko", "yue")
    return offline.from_nemo_ctc(model=single, **common), ("en",)


def _any(folder: Path, pattern: str) -> str | None:
    # Where both are there, the one of 8 bits is the quick one.
    found = sorted(folder.glob(pattern), key=lambda path: ("int8" not in path.name, path.name))
    return str(found[0]) if found else None


def _one(folder: Path, pattern: str) -> str:
    found = _any(folder, pattern)
    if found is None:
        raise CannotLoad(f"{folder} holds no {pattern}")
    return found
