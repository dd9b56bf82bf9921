"""Loads the voice that was chosen, and says in plain words why one cannot be loaded."""

from __future__ import annotations

from pathlib import Path

from plugins.tts.voices.voice import LoadedVoice
from plugins.vendors.model_child import CannotLoad


def load_voice(kind: str, path: Path, *, threads: int) -> LoadedVoice:
    """The model at `path`. Raises `CannotLoad`."""
    try:
        return _kokoro(path, threads) if kind == "kokoro" else _hibari(path, threads)
    except ImportError as error:
        raise CannotLoad(
            f"{kind} needs the library {error.name or error}: pip install 'betterai-engine[local-voice]'"
        ) from None
    except CannotLoad:
        raise
    except Exception as error:
        # Each library has its own way to refuse a file that is cut or of another kind.
        raise CannotLoad(f"{path} cannot be loaded as {kind}: {type(error).__name__}: {str(error)[:300]}") from None


def _hibari(path: Path, threads: int) -> LoadedVoice:
    # Hibari and onnxruntime may not be installed.
    from plugins.tts.voices.hibari_voice import HibariVoice

    return HibariVoice(path, threads=threads)


def _kokoro(path: Path, threads: int) -> LoadedVoice:
    # Hibari and onnxruntime may not be installed.
    from plugins.tts.voices.kokoro import Kokoro

    return Kokoro(path, threads=threads)
