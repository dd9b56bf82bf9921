"""Voices that are programs: flite, espeak-ng, or the library of the latter in a process of its own, and Piper.

All are run as programs: a crash in one cannot stop the server, and the GPL of Espeak NG and Piper ends at their process.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from engine.api import Health, ProviderError, Sound, Voice
from engine.wire.wav import HEADER
from plugins.tts.weights import VoiceModel

PIECE = 0.1
"""Seconds of the sound that is given out at a time."""

AT_ONCE = 4
"""Runs of one program at a time; more take turns."""

_CHILD = Path(__file__).with_name("espeak_child.py")
_LISTED_WITHIN = 10.0
_ENGLISH = {"slt": "female", "rms": "male", "awb": "male, Scottish", "kal": "male, 8 kHz", "kal16": "male"}
_FIRST = ("en-us", "en-gb")

Command = Callable[[str, float, str, str], Sequence[str]]


class ProgramVoices:
    """The voices of one program; implements `plugins.tts.providers.local.Source`.

    `command` makes its arguments of a voice, a speed, and the files of text and sound.
    """

    refusal: str | None = None

    def __init__(self, name: str, command: Command, voices: tuple[Voice, ...]) -> None:
        self.name = name
        self.voices = voices
        self._command = command
        self._turns = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name)

    def health(self) -> Health:
        """A program is there or not."""
        return Health("ok", self.name)

    def check(self, voice: Voice, speed: float) -> None:
        """All programs take every speed."""

    async def speak(self, voice: Voice, speed: float, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        with tempfile.TemporaryDirectory(prefix="betterai-voice-") as folder:
            written, spoken = Path(folder, "text"), Path(folder, "sound.wav")
            await asyncio.to_thread(_write, written, text)
            await self._run(self._command(voice.id, speed, str(written), str(spoken)))
            data = await asyncio.to_thread(_read, spoken)
        rate, pcm = _samples(data, self.name)
        step = int(rate * PIECE) * 2
        for begin in range(0, len(pcm), step):
            yield Sound(pcm[begin : begin + step], rate)

    async def _run(self, command: Sequence[str]) -> None:
        run = _Run(command)
        try:
            status = await asyncio.get_running_loop().run_in_executor(self._turns, run.to_its_end)
        except asyncio.CancelledError:
            run.stop()
            raise
        if status != 0:
            raise ProviderError(f"{self.name} ended with status {status} and no sound.")


class _Run:
    """One run of a program, in a thread: to start a process takes a large server longer than its loop may wait."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def to_its_end(self) -> int:
        """Its status."""
        nothing = subprocess.DEVNULL
        with self._lock:
            if self._stopped:
                return -signal.SIGKILL
            self._process = subprocess.Popen(self._command, stdin=nothing, stdout=nothing, stderr=nothing)
        return self._process.wait()

    def stop(self) -> None:
        """Nobody waits for it any more; it may not have begun."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()


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
def programs() -> tuple[ProgramVoices, ...]:
    """Those that are there, looked for once; the best first."""
    found = [_flite(), _espeak()]
    return tuple(each for each in found if each is not None)


def piper(model: VoiceModel) -> ProgramVoices | str:
    """A voice of Piper's by its file, or what is missing."""
    program = shutil.which("piper") or shutil.which("piper", path=str(Path(sys.executable).parent))
    if program is None:
        return f"{model.name} needs the program piper (pip install piper-tts, under the GPL, version 3)"
    base = [program, "-m", str(model.path)]

    def command(voice: str, speed: float, text: str, sound: str) -> Sequence[str]:
        return [*base, "--length-scale", f"{1 / speed:.3f}", "-i", text, "-f", sound]

    return ProgramVoices("piper", command, model.voices)


def _flite() -> ProgramVoices | None:
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

    return ProgramVoices("flite", command, voices) if voices else None


def _espeak() -> ProgramVoices | None:
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
    # What speaks where nobody says how is English, and not the first of the alphabet.
    names = dict(sorted(listed, key=lambda each: _FIRST.index(each[0]) if each[0] in _FIRST else len(_FIRST)))
    voices = tuple(Voice(id=id, name=name, languages=(id,), description="espeak-ng") for id, name in names.items())

    def command(voice: str, speed: float, text: str, sound: str) -> Sequence[str]:
        return [*base, "-v", voice, "-s", str(round(175 * speed)), "-f", text, "-w", sound]

    return ProgramVoices("espeak-ng", command, voices) if voices else None


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LISTED_WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
