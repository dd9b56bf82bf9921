"""Secrets that stand outside the file, and the variables of the vendors' SDKs."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr

from engine.config import ConfigErrors
from tests.engine.config.conftest import Configure


class Files(BaseModel):
    base_url: str = Field(default="https://files", json_schema_extra={"env": ["ACME_FILES_URL"]})


class Vendor(BaseModel):
    api_key: SecretStr | None = Field(default=None, json_schema_extra={"env": ["ACME_API_KEY", "ACME_KEY"]})
    base_url: str = Field(default="https://acme", json_schema_extra={"env": ["ACME_BASE_URL"]})
    retries: int = Field(default=1, json_schema_extra={"env": ["ACME_RETRIES"]})
    headers: dict[str, str] = {}
    regions: tuple[str, ...] = ()
    files: Files = Files()


def key_of(vendor: Vendor) -> str | None:
    return vendor.api_key.get_secret_value() if vendor.api_key else None


def test_references_are_replaced_anywhere_in_a_text(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    text = f"""
    [vendors.acme]
    api_key = "${{file:{tmp_path / "key"}}}"
    base_url = "https://${{env:USER_NAME}}:${{env:PASSWORD}}@acme"
    headers = {{ X = "${{env:PASSWORD}}" }}
    regions = ["eu", "${{env:USER_NAME}}"]
    """
    vendor = configure(text, {"USER_NAME": "u", "PASSWORD": "${env:p}"}).table("vendors.acme", Vendor)
    assert key_of(vendor) == "from-file"
    assert vendor.base_url == "https://u:${env:p}@acme"
    assert vendor.headers == {"X": "${env:p}"}
    assert vendor.regions == ("eu", "u")


def test_a_reference_in_a_variable_is_replaced_too(configure: Configure) -> None:
    raw = configure(environ={"BETTERAI__VENDORS__ACME__API_KEY": "${env:REAL}", "REAL": "k"})
    assert key_of(raw.table("vendors.acme", Vendor)) == "k"


def test_a_number_may_come_by_reference(configure: Configure) -> None:
    raw = configure("[vendors.acme]\nretries = '${env:N}'", {"N": "7"})
    assert raw.table("vendors.acme", Vendor).retries == 7


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("${env:NOT_SET}", "environment variable NOT_SET is not set or empty"),
        ("${env:EMPTY}", "environment variable EMPTY is not set or empty"),
        ("${file:/no/such/file}", "cannot read file /no/such/file: No such file or directory"),
        ("${file:/}", "cannot read file /: Is a directory"),
        ("${file:/dev/zero}", "larger than"),
        ("${env:}", "names nothing"),
        ("${env:OPEN", "not closed"),
    ],
)
def test_a_reference_to_nothing_names_the_key_and_what_is_missing(configure: Configure, value: str, told: str) -> None:
    raw = configure(f"[vendors.acme]\nretries = 2\napi_key = '{value}'", {"EMPTY": ""})
    with pytest.raises(ConfigErrors) as caught:
        raw.table("vendors.acme", Vendor)
    (problem,) = caught.value.errors
    assert problem.key == "vendors.acme.api_key"
    assert str(problem.origin).endswith("file.toml:3")
    assert told in problem.message


def test_a_reference_to_nothing_is_the_only_problem_of_its_key(configure: Configure) -> None:
    with pytest.raises(ConfigErrors) as caught:
        configure("[vendors.acme]\nretries = '${env:NOT_SET}'").table("vendors.acme", Vendor)
    assert len(caught.value.errors) == 1


def test_a_missing_secret_of_a_table_nobody_reads_stops_nothing(configure: Configure) -> None:
    raw = configure("[vendors.acme]\napi_key = '${env:NOT_SET}'")
    raw.check({"vendors.acme": Vendor})


def test_the_sdks_own_variable_wins_over_the_default(configure: Configure) -> None:
    raw = configure(environ={"ACME_API_KEY": "sdk", "ACME_FILES_URL": "https://f", "ACME_RETRIES": "4"})
    vendor = raw.table("vendors.acme", Vendor)
    assert (key_of(vendor), vendor.files.base_url, vendor.retries) == ("sdk", "https://f", 4)


def test_file_and_betterai_variable_win_over_the_sdks_own(configure: Configure) -> None:
    environ = {
        "ACME_API_KEY": "sdk",
        "ACME_BASE_URL": "https://sdk",
        "ACME_FILES_URL": "https://sdk",
        "BETTERAI__VENDORS__ACME__BASE_URL": "https://ours",
    }
    raw = configure("[vendors.acme]\napi_key = 'file'\nfiles = { base_url = 'https://file' }", environ)
    vendor = raw.table("vendors.acme", Vendor)
    assert (key_of(vendor), vendor.base_url, vendor.files.base_url) == ("file", "https://ours", "https://file")


def test_the_first_variable_that_is_set_counts_and_an_empty_one_does_not(configure: Configure) -> None:
    vendor = configure(environ={"ACME_API_KEY": "", "ACME_KEY": "second"}).table("vendors.acme", Vendor)
    assert key_of(vendor) == "second"


def test_a_key_of_digits_from_the_sdks_variable_stays_a_text(configure: Configure) -> None:
    assert key_of(configure(environ={"ACME_API_KEY": "0123"}).table("vendors.acme", Vendor)) == "0123"


def test_a_wrong_value_names_the_sdks_variable(configure: Configure) -> None:
    with pytest.raises(ConfigErrors, match=r"vendors.acme.retries \(environment variable ACME_RETRIES\)"):
        configure(environ={"ACME_RETRIES": "many"}).table("vendors.acme", Vendor)
