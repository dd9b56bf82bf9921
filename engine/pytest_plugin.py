"""`pytest --betterai-conformance NAME`: holds the providers of an installed plugin to their contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

OPTION = "--betterai-conformance"
INSTALLED = Path(__file__).parent / "testing" / "installed.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("betterai")
    group.addoption(
        OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help="Run the conformance kit on the chat and speech providers of this installed plugin; may be repeated.",
    )
    group.addoption(
        "--betterai-config",
        default=None,
        metavar="FILE",
        help="Configuration file with the plugin's settings; else as `betterai serve` finds its own.",
    )
    group.addoption(
        "--betterai-model",
        default=None,
        metavar="MODEL",
        help="Model to ask, vendor/model where the plugin brings several vendors; else its default, or its first.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the kit in the place of the folders that would be searched, and beside what was named."""
    if not config.getoption(OPTION):
        return
    named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    config.args = [*named, str(INSTALLED)]
