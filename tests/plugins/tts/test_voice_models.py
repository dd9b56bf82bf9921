"""Which voices a machine has, how a sentence is cut for one, and that none of them looks for anything on a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.tts.settings import TtsSettings
from plugins.tts.voices.phonemes import FIRST, LONGEST, cut
from plugins.tts.weights import find_models, kind_of
from tests.plugins.tts.here import packaged


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"joe.onnx": "", "joe.onnx.json": "{}"}, "piper"),
        ({"hibari-fp32.onnx": ""}, "hibari"),
        ({"other.onnx": ""}, None),
    ],
)
def test_what_a_file_holds_is_known_by_its_name(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert kind_of(tmp_path / next(iter(files))) == kind


def test_a_folder_of_kokoro_is_known_by_its_voices(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert kind_of(tmp_path) is None
    (tmp_path / "voices").mkdir()
    for name in ("af_heart", "bm_george", "jf_alpha"):
        (tmp_path / "voices" / f"{name}.bin").touch()
    found = find_models(TtsSettings(local_model_path=tmp_path)).models[0]
    assert (found.kind, [voice.id for voice in found.voices]) == ("kokoro", ["af_heart", "bm_george"])
    assert found.voices[1].languages == ("en", "en-gb")


def test_a_path_that_holds_no_voice_is_named_and_the_next_one_speaks(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "gone", "does not exist"), (tmp_path, "is no voice of a known kind")):
        found = find_models(TtsSettings(local_model_path=path))
        assert [model.name for model in found.models] == ["heart"]
        assert str(path) in found.reasons[0] and says in found.reasons[0]


def test_a_sentence_is_cut_where_one_breathes_and_nothing_is_lost() -> None:
    phonemes = ", ".join(["ðə bˈOt ɪz ɡɹˈin ænd ðə sˈi ɪz blˈu"] * 12) + " "
    phonemes += " ".join(["wɪðˈWt ˌɛni kˈɑmə"] * 20)
    blocks = list(cut(phonemes))
    assert "".join(block.phonemes for block in blocks).replace(" ", "") == phonemes.replace(" ", "")
    assert len(blocks[0].phonemes) <= FIRST and blocks[0].phonemes.endswith(",")
    assert all(0 < len(block.phonemes) <= LONGEST for block in blocks)
    assert [block.tail for block in blocks].count(None) == 1 and blocks[-1].tail is None


def run_apart(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_speaking_asks_the_network_for_nothing() -> None:
    program = f"""
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
from pathlib import Path
from plugins.tts.voices.loading import load_voice
voice = load_voice("hibari", Path({str(packaged())!r}), threads=1)
said = b"".join(voice.blocks("Brillig and 3 slithy toves cost $9.99 on May 5th, see https://example.com.", "heart", 1.0))
print(len(said) > 48_000, asked)
"""
    assert run_apart(program).stdout.split("\n")[0] == "True []"


def test_what_a_library_would_fetch_by_itself_is_refused_before_it_is_asked_for(tmp_path: Path) -> None:
    program = """
import sys
from plugins.tts.speaking_child import refuse_network
sys.addaudithook(refuse_network)
from hibari.voices import voice_path
try:
    voice_path("emma")
except Exception as error:
    print("does not use the network" in str(error))
"""
    assert run_apart(program, HIBARI_HOME=str(tmp_path)).stdout == "True\n"
    assert list(tmp_path.iterdir()) == []
