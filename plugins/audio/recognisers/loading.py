"""Loads the recogniser that was chosen, and says in plain words why one cannot be loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from plugins.audio.recognisers.recogniser import Recogniser
from plugins.vendors.model_child import CannotLoad

Load: TypeAlias = Callable[[Path, int, int], Recogniser]


def load_recogniser(kind: str, path: Path, *, threads: int, callers: int) -> Recogniser:
    """The model at `path`; `callers` may use it at once, each on `threads` threads. Raises `CannotLoad`."""
    try:
        return _LOADERS[kind](path, threads, callers)
    except ImportError as error:
        raise CannotLoad(f"{kind} needs the library {error.name or error}: pip install '{_INSTALL[kind]}'") from None
    except CannotLoad:
        raise
    except Exception as error:
        # Each library has its own way to refuse a file that is cut or of another kind.
        raise CannotLoad(f"{path} cannot be loaded as {kind}: {type(error).__name__}: {str(error)[:300]}") from None


def _whisper(path: Path, threads: int, callers: int) -> Recogniser:
    # CTranslate2 may not be installed.
    from plugins.audio.recognisers.whisper import Whisper

    return Whisper(path, threads=threads, callers=callers)


def _moonshine(path: Path, threads: int, callers: int) -> Recogniser:
    # onnxruntime may not be installed.
    from plugins.audio.recognisers.moonshine import Moonshine

    return Moonshine(path, threads=threads)


def _whisper_cpp(path: Path, threads: int, callers: int) -> Recogniser:
    # pywhispercpp may not be installed.
    from plugins.audio.recognisers.whisper_cpp import WhisperCpp

    return WhisperCpp(path, threads=threads)


def _sherpa(path: Path, threads: int, callers: int) -> Recogniser:
    # sherpa-onnx may not be installed.
    from plugins.audio.recognisers.sherpa import Sherpa

    return Sherpa(path, threads=threads)


_LOADERS: dict[str, Load] = {
    "whisper-ct2": _whisper,
    "moonshine": _moonshine,
    "whisper-cpp": _whisper_cpp,
    "sherpa-onnx": _sherpa,
}

_INSTALL = {
    "whisper-ct2": "betterai-engine[local-voice]",
    "moonshine": "betterai-engine[local-voice]",
    "whisper-cpp": "pywhispercpp",
    "sherpa-onnx": "sherpa-onnx",
}
