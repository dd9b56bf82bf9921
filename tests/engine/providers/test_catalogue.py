"""Entries of several files and plugins as one catalogue."""

from pathlib import Path

import pytest

from engine.api import ModelInfo
from engine.config import ConfigErrors
from engine.providers import Catalogue, CatalogueClash, load_catalogue

ONE = '[[models]]\nid = "one"\nprovider = "acme"\naliases = ["uno"]\n'


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_is_found_by_id_alias_and_the_vendors_own_name() -> None:
    entry = ModelInfo(id="big", provider="acme", model="acme-big-2026", aliases=("grande",))
    catalogue = Catalogue([entry])
    assert catalogue.find("big") is catalogue.find("grande") is entry
    assert catalogue.of("acme", "acme-big-2026") is catalogue.of("acme", "grande") is entry
    assert catalogue.find("acme-big-2026") is None
    assert catalogue.of("other", "big") is None


@pytest.mark.parametrize("second", ["one", "uno"])
def test_one_name_in_two_files_is_an_error_that_names_both(tmp_path: Path, second: str) -> None:
    first = file(tmp_path, "first.toml", ONE)
    other = file(tmp_path, "second.toml", f'[[models]]\nid = "{second}"\nprovider = "acme"\n')
    with pytest.raises(ConfigErrors) as refused:
        load_catalogue([first, other])
    message = str(refused.value)
    assert str(first) in message
    assert str(other) in message
    assert f"models.{second}" in message
    assert "'one'" in message


def test_one_id_twice_in_one_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="id is taken"):
        load_catalogue([file(tmp_path, "twice.toml", ONE + ONE)])


def test_a_files_entry_wins_over_a_plugins(tmp_path: Path) -> None:
    ours = ModelInfo(id="one", provider="plugin")
    alias = ModelInfo(id="two", provider="plugin", aliases=("uno", "due"))
    catalogue = load_catalogue([file(tmp_path, "own.toml", ONE)], [("acme", ours), ("acme", alias)])
    one, uno, due = catalogue.find("one"), catalogue.find("uno"), catalogue.find("due")
    assert one is not None
    assert one.provider == "acme"
    assert uno is one
    assert due is not None
    assert due.id == "two"


def test_two_plugins_with_one_model_are_both_named() -> None:
    entry = ModelInfo(id="one", provider="acme")
    with pytest.raises(CatalogueClash, match=r"'alpha' and 'beta'.*'one'"):
        load_catalogue([], [("alpha", entry), ("beta", entry)])
