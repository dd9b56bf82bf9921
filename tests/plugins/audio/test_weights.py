"""Which recogniser a machine has, and what is said of those that it could have."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.audio.settings import AudioSettings
from plugins.audio.weights import find_ears, kind_of


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("model.bin", "config.json", "tokenizer.json"), "whisper-ct2"),
        (("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"), "moonshine"),
        (("tiny.en-tokens.txt", "tiny.en-encoder.onnx", "tiny.en-decoder.onnx"), "sherpa-onnx"),
        (("model.bin",), None),
        ((), None),
    ],
)
def test_what_a_folder_holds_is_known_by_its_files(tmp_path: Path, names: tuple[str, ...], kind: str | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert kind_of(tmp_path) == kind


def test_a_path_that_holds_no_model_is_named_and_the_next_one_hears(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "gone", "does not exist"), (tmp_path, "is no model of a known kind")):
        found = find_ears(AudioSettings(local_model_path=path))
        assert found.ears[0].name == "whisper-tiny.en"
        assert str(path) in found.reasons[0] and says in found.reasons[0]


def test_a_kind_whose_library_is_missing_says_what_to_install(tmp_path: Path) -> None:
    file = tmp_path / "ggml-base.bin"
    file.touch()
    found = find_ears(AudioSettings(local_model_path=file))
    assert found.reasons == ("ggml-base needs the package pywhispercpp",)
