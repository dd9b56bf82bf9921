"""The configurations that the pages show, and those that are shipped, are taken as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.judging import Verdict, judged
from engine.config import RawConfig, load, read_core
from tests.architecture.source import ROOT
from tests.docs.pages import DOCS, README, Block, blocks
from tests.docs.product import settings_tables

SECRETS = {"BETTERAI_AUTH_SECRET": "x" * 32, "BETTERAI_DATABASE_PASSWORD": "secret"}
SHOWN = [
    block for page in (README, DOCS / "deploying.md", DOCS / "writing-a-provider.md") for block in blocks(page, "toml")
]


def take(config: RawConfig) -> None:
    """Judge a configuration as `betterai check` does."""
    read_core(config)
    for name, model in settings_tables().items():
        config.table(name, model)
    config.check(settings_tables())


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.text.partition("\n")[0])
def test_a_configuration_on_a_page_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "betterai.toml"
    file.write_text(block.text)
    take(load(file, SECRETS))


@pytest.mark.parametrize("name", ["betterai.toml", "production.example.toml"])
def test_a_shipped_configuration_is_valid(name: str) -> None:
    take(load(ROOT / "config" / name, SECRETS))


async def test_the_production_example_lacks_nothing_that_its_page_does_not_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {**SECRETS, "ANTHROPIC_API_KEY": "sk-test-0123456789"}
    assert await judged(load(ROOT / "config" / "production.example.toml", environ)) == Verdict()
