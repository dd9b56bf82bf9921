"""Files of the model catalogue."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from anthropic.types import Model
from openai.types import ChatModel
from openai.types.realtime import RealtimeSessionCreateRequest

from engine.config import ConfigErrors
from engine.providers import load_catalogue, read_catalogue, shipped_catalogue


def written(folder: Path, text: str, name: str = "models.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigErrors) as refused:
        read_catalogue(path)
    return str(refused.value)


def test_an_entry_is_read_with_exact_prices_and_a_date(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[models]]
        id = "one"
        provider = "acme"
        aliases = ["uno"]
        context = 1000
        capabilities = ["tools"]
        price = { input = 0.1, output = 3 }
        retires_on = 2026-01-02
        """,
    )
    [entry] = read_catalogue(path)
    assert entry.price is not None
    assert (entry.price.input, entry.price.output) == (Decimal("0.1"), Decimal(3))
    assert (entry.id, entry.aliases, entry.retires_on) == ("one", ("uno",), date(2026, 1, 2))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("contxt = 1000", ["models.one.contxt", "did you mean context?"]),
        ('context = "much"', ["models.one.context", "int", "str"]),
        ("context = 0", ["models.one.context", "greater than 0"]),
        ('role = "chta"', ["models.one.role", "chta"]),
        ('capabilities = ["tool"]', ["models.one.capabilities", "did you mean tools?"]),
        ("price = { inptu = 1 }", ["models.one.price.inptu", "did you mean input?"]),
        ('price = { input = "dear" }', ["models.one.price.input"]),
        ("price = { input = -1 }", ["models.one.price.input", "0 or more"]),
        ('retires_on = "soon"', ["models.one.retires_on"]),
    ],
)
def test_a_wrong_key_is_named_with_file_line_and_entry(tmp_path: Path, line: str, expected: list[str]) -> None:
    path = written(tmp_path, f'[[models]]\nid = "one"\nprovider = "acme"\n{line}\n')
    message = refusal(path)
    for part in (*expected, f"{path}:4"):
        assert part in message


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, '[[models]]\nid = "one"\n[[models]]\nprovider = "acme"\n'))
    assert "models.one" in message
    assert "'provider'" in message
    assert "models[1]" in message
    assert "'id'" in message


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refusal(tmp_path / "none.toml")
    assert "not valid TOML" in refusal(written(tmp_path, "[[models"))
    assert "[[models]]" in refusal(written(tmp_path, "models = 3"))
    assert "did you mean models?" in refusal(written(tmp_path, '[[model]]\nid = "one"'))


def test_the_shipped_catalogue_names_the_models_of_the_vendors_sdks() -> None:
    catalogue = load_catalogue([shipped_catalogue()])
    named = {name for union in (ChatModel, *get_args(Model)) for name in get_args(union)}
    # Kept in the SDK for compatibility; its own notes say that the vendor does not serve it.
    named.discard("gpt-5.1-mini")
    assert [name for name in sorted(named) if catalogue.find(name) is None] == []


def test_the_shipped_catalogue_names_openais_realtime_models() -> None:
    catalogue = load_catalogue([shipped_catalogue()])
    asked = RealtimeSessionCreateRequest.model_fields["model"].annotation
    named = {name for choice in get_args(asked) for name in get_args(choice) if name.startswith("gpt-realtime")}
    assert named
    for name in named:
        entry = catalogue.find(name)
        assert entry is not None and entry.role == "realtime", name


def test_every_successor_in_the_shipped_catalogue_exists_and_outlives_its_model() -> None:
    catalogue = load_catalogue([shipped_catalogue()])
    for entry in catalogue.entries.values():
        if entry.successor is None:
            continue
        heir = catalogue.find(entry.successor)
        assert heir is not None, entry
        assert entry.retires_on is not None, entry
        assert heir.retires_on is None or heir.retires_on > entry.retires_on, entry
