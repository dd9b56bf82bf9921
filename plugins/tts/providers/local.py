"""Voices of this machine: the programs flite and espeak-ng, or the library of the latter in a process of its own.

All are run as programs: a crash in one cannot stop the server, and the GPL of Espeak NG ends at its process.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from engine.api import InvalidRequest, ProviderError, ProviderRole, Sound, SpeechRequest, Voice
from engine.wire.wav import HEADER

NAME = "local"
PIECE = 0.1
"""Seconds of the sound that is given out at a time."""

_CHILD = Path(__file__).parents[1] / "espeak_child.py"
_LISTED_WITHIN = 10.0
_ENGLISH = {"slt": "female", "rms": "male", "awb": "male, Scottish", "kal": "male, 8 kHz", "kal16": "male"}


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that speaks: `command` makes its arguments of a voice, a speed, and the files of text and sound."""

    name: str
    command: Callable[[str, float, str, str], Sequence[str]]
    voices: tuple[Voice, ...]


class LocalVoices:
    """A speech provider that needs no key and no network. `preferred` is the voice that is taken where none is asked for."""

    role: ClassVar[ProviderRole] = "speech"
    name = NAME
    default_model = "voice"
    reads_what_it_can = True
    """These programs fail loudly, and are silent only for characters that they do not know."""

    def __init__(self, preferred: str) -> None:
        self._preferred = preferred

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if engines():
            return None
        return (
            "no voice is installed on this machine: install the program flite or espeak-ng, "
            "or pip install 'betterai-engine[local-voice]'"
        )

    async def voices(self) -> Sequence[Voice]:
        """Every voice of every program that is there."""
        return [voice for engine in engines() for voice in engine.voices]

    def check(self, request: SpeechRequest) -> None:
        """Raise `InvalidRequest` for a voice that is not there."""
        self._find(request)

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        engine, voice = self._find(request)
        with tempfile.TemporaryDirectory(prefix="betterai-voice-") as folder:
            written, spoken = Path(folder, "text"), Path(folder, "sound.wav")
            await asyncio.to_thread(_write, written, text)
            await _run(engine, engine.command(voice, request.speed, str(written), str(spoken)))
            data = await asyncio.to_thread(_read, spoken)
        rate, pcm = _samples(data, engine.name)
        step = int(rate * PIECE) * 2
        for begin in range(0, len(pcm), step):
            yield Sound(pcm[begin : begin + step], rate)

    def _find(self, request: SpeechRequest) -> tuple[Engine, str]:
        wanted = request.voice
        known = {voice.id: engine for engine in engines() for voice in engine.voices}
        if wanted is None and request.language is not None:
            wanted = self._of_language(request.language)
        if wanted is None:
            wanted = self._preferred if self._preferred in known else next(iter(known))
        if wanted not in known:
            listed = ", ".join(list(known)[:8])
            raise InvalidRequest(
                f"there is no voice {wanted[:60]!r} on this machine; some that are there: {listed}; "
                "GET /api/v1/tts/voices lists all",
                field="voice",
            )
        return known[wanted], wanted

    def _of_language(self, language: str) -> str:
        """The preferred voice if it speaks the language, else the first that does."""
        spoken = language.split("-")[0].lower()
        voices = [voice for engine in engines() for voice in engine.voices]
        ids = [voice.id for voice in voices if spoken in {each.split("-")[0] for each in voice.languages}]
        if not ids:
            raise InvalidRequest(
                f"no voice of this machine speaks {language!r}; leave language out, name another model, or install espeak-ng; "
                "GET /api/v1/tts/voices lists what there is",
                field="language",
            )
        return self._preferred if self._preferred in ids else ids[0]


async def _run(engine: Engine, command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise ProviderError(f"{engine.name} ended with status {status} and no sound.")


def _write(path: Path, text: str) -> None:
    # What has no sound must not end the text, as a NUL would.
    path.write_text(text.replace("\0", " "), encoding="utf-8", errors="replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _samples(data: bytes, name: str) -> tuple[int, bytes]:
    """Rate and samples of a WAV file of 16 bits, mono, whose header is of the usual form."""
    if len(data) < HEADER or data[:4] != b"RIFF" or data[36:40] != b"data":
        raise ProviderError(f"{name} gave no sound.")
    return int.from_bytes(data[24:28], "little"), data[HEADER : len(data) - len(data) % 2]


@cache
def engines() -> tuple[Engine, ...]:
    """The programs that are there, looked for once."""
    found = [_flite(), _espeak()]
    return tuple(engine for engine in found if engine is not None)


def _flite() -> Engine | None:
    program = shutil.which("flite")
    if program is None:
        return None
    listed = _output([program, "-lv"]).partition(":")[2].split()
    ids = [id for id in ("kal16", "slt", "rms", "awb", "kal") if id in listed]
    voices = tuple(
        Voice(id=id, name=id, languages=("en",), description=f"flite, English, {_ENGLISH[id]}") for id in ids
    )

    def command(voice: str, speed: float, text: str, sound: str) -> Sequence[str]:
        return [program, "-voice", voice, "--setf", f"duration_stretch={1 / speed:.3f}", "-f", text, "-o", sound]

    return Engine("flite", command, voices) if voices else None


def _espeak() -> Engine | None:
    program = shutil.which("espeak-ng")
    if program is not None:
        lines = _output([program, "--voices"]).splitlines()[1:]
        # Columns: priority, language, age and gender, name, file.
        rows = [line.split() for line in lines]
        listed = [(row[1], row[3].replace("_", " ")) for row in rows if len(row) >= 5 and not row[4].startswith("mb/")]
        base = [program]
    elif find_spec("espeakng_loader") is not None:
        listed = [("en-us", "English (America)"), ("en-gb", "English (Great Britain)"), ("de", "German")]
        listed += [("fr", "French"), ("es", "Spanish"), ("it", "Italian"), ("pt", "Portuguese"), ("pl", "Polish")]
        base = [sys.executable, str(_CHILD)]
    else:
        return None
    voices = tuple(
        Voice(id=id, name=name, languages=(id,), description="espeak-ng") for id, name in dict(listed).items()
    )

    def command(voice: str, speed: float, text: str, sound: str) -> Sequence[str]:
        return [*base, "-v", voice, "-s", str(round(175 * speed)), "-f", text, "-w", sound]

    return Engine("espeak-ng", command, voices) if voices else None


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LISTED_WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
