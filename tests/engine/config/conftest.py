"""A configuration file and an environment, made for one test."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from engine.config import RawConfig, load

Configure = Callable[..., RawConfig]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Load a file with this text under these variables; the file is named `file.toml`."""

    def configured(text: str = "", environ: Mapping[str, str] | None = None) -> RawConfig:
        file = tmp_path / "file.toml"
        file.write_text(text, encoding="utf-8")
        return load(file, environ or {})

    return configured
