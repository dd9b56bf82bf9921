"""Which voices in a process this machine has: the operator's own, and the one in an installed package.

Nothing is imported, read or fetched here but names. The process that loads a file of a known package compares its hash.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from engine.api import Voice
from plugins.tts.settings import TtsSettings

Kind: TypeAlias = Literal["hibari", "kokoro", "piper"]

LIBRARIES = ("hibari", "numpy", "onnxruntime")
"""Of all that is loaded in a process; Piper is a program."""

PACKAGE, ASSETS = "hibari", "assets"
SHA256 = {
    "hibari.onnx": "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8",
    "oov.onnx": "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
}
HEART = Voice(id="heart", name="Heart", languages=("en", "en-us"), description="hibari, English, female")

_KOKORO = {
    "a": (("en", "en-us"), "English"),
    "b": (("en", "en-gb"), "British English"),
}
_FAVOURITE = "af_heart"


@dataclass(frozen=True, slots=True)
class VoiceModel:
    """A model that could be loaded, and its voices, the best first."""

    kind: Kind
    path: Path
    name: str
    voices: tuple[Voice, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By file; what is not named here may be anything."""


@dataclass(frozen=True, slots=True)
class Found:
    """The models of this machine, the best first, and what is wrong with those that are none."""

    models: tuple[VoiceModel, ...]
    reasons: tuple[str, ...] = ()


def find_models(settings: TtsSettings) -> Found:
    """The models of this machine, by the files and libraries that are there."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    models: list[VoiceModel] = []
    reasons: list[str] = []
    own = _own(settings)
    if isinstance(own, str):
        reasons.append(own)
    elif own is not None and own.kind != "piper" and missing:
        reasons.append(f"{own.name} needs {_listed(missing)}")
    elif own is not None:
        models.append(own)
    folder = _packaged()
    if folder is None or missing:
        if not models:
            reasons.append(f"the voice heart is not installed: it needs {_listed(missing or [PACKAGE])}")
    else:
        models.append(VoiceModel("hibari", folder / "hibari.onnx", HEART.id, (HEART,), SHA256))
    return Found(tuple(models), tuple(reasons))


def kind_of(path: Path) -> Kind | None:
    """What a path holds, by the names of its files."""
    if path.is_dir():
        return "kokoro" if any(path.glob("*.onnx")) and _names(path) else None
    if path.suffix != ".onnx" or not path.is_file():
        return None
    if _note(path).is_file():
        return "piper"
    return "hibari" if "hibari" in path.name.lower() else None


def _own(settings: TtsSettings) -> VoiceModel | str | None:
    """What the operator named, or what is wrong with it."""
    path = settings.local_model_path
    if path is None:
        return None
    path = path.expanduser()
    kind = settings.local_model_kind or kind_of(path)
    says = f"plugins.tts.local_model_path: {path}"
    if not path.exists():
        return f"{says} does not exist"
    if kind is None:
        return f"{says} is no voice of a known kind; known are {', '.join(get_args(Kind))}, as docs/voice.md describes them"
    try:
        voices = _voices(kind, path)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        return f"{says} cannot be read as {kind}: {error}"
    if not voices:
        return f"{says} holds no voice that speaks English (their names begin with a or b)"
    return VoiceModel(kind, path, path.stem if path.is_file() else path.name, voices)


def _voices(kind: Kind, path: Path) -> tuple[Voice, ...]:
    if kind == "kokoro":
        names = sorted(_names(path), key=lambda name: (name != _FAVOURITE, name))
        return tuple(
            Voice(id=name, name=name, languages=_KOKORO[name[0]][0], description=f"kokoro, {_KOKORO[name[0]][1]}")
            for name in names
            if name[0] in _KOKORO
        )
    if kind == "piper":
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        code = str((note.get("language") or {}).get("code") or (note.get("espeak") or {}).get("voice") or "en")
        tag = code.replace("_", "-").lower()
        languages = tuple(dict.fromkeys((tag.split("-")[0], tag)))
        return (Voice(id=path.stem, name=path.stem, languages=languages, description="piper"),)
    return (Voice(id=path.stem, name=path.stem, languages=HEART.languages, description="hibari"),)


def _names(folder: Path) -> list[str]:
    """Of Kokoro's voices: in one file of NumPy's, which is an archive, or a file for each."""
    packed = [*folder.glob("voices*.npz"), *folder.glob("voices*.bin")]
    if packed:
        with zipfile.ZipFile(packed[0]) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    return [path.stem for path in folder.joinpath("voices").glob("*.bin")]


def _note(path: Path) -> Path:
    """What Piper keeps beside a voice."""
    return path.with_name(f"{path.name}.json")


def _packaged() -> Path | None:
    spec = find_spec(PACKAGE)
    places = (spec and spec.submodule_search_locations) or []
    folders = (Path(place, ASSETS) for place in places)
    return next((folder for folder in folders if folder.is_dir()), None)


def _listed(names: list[str]) -> str:
    packages = ["hibari-tts" if name == PACKAGE else name for name in names]
    return f"the package{'s' if len(packages) > 1 else ''} {', '.join(packages)}"
