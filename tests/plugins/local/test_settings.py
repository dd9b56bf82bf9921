"""What an operator may write under `[plugins.local]`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from plugins.local.settings import LocalSettings


def test_an_empty_table_is_enough() -> None:
    assert LocalSettings().model_path is None


@pytest.mark.parametrize("table", [{"modle_path": "x"}, {"context": 0}, {"parallel": 0}, {"threads": 0}])
def test_a_wrong_key_or_value_is_named(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(table))):
        LocalSettings.model_validate(table)


def test_every_setting_is_described() -> None:
    assert all(setting.description for setting in LocalSettings.model_fields.values())
