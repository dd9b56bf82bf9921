"""A program that speaks with the library of Espeak NG out of the package espeakng-loader: `-v VOICE -s SPEED -f TEXT -w WAV`.

It is run by its path and imports nothing of ours, so that the library's licence (GPL, version 3) stays in this process.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import wave
from pathlib import Path
from typing import Any

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: AUDIO_OUTPUT_SYNCHRONOUS
RATE = 1  # espeak_PARAMETER: espeakRATE
UTF8 = 1  # espeakCHARS_UTF8


def main() -> int:
    """Write the sound of the text; the status is that of the program."""
    # An extra, and only here.
    import espeakng_loader

    parser = argparse.ArgumentParser()
    for option in ("-v", "-s", "-f", "-w"):
        parser.add_argument(option, required=True)
    asked = parser.parse_args()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(asked.v.encode()) != 0:
        return 1
    library.espeak_SetParameter(RATE, int(asked.s), 0)
    pieces: list[bytes] = []

    def take(samples: Any, count: int, events: int) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(take)
    library.espeak_SetSynthCallback(callback)
    text = Path(asked.f).read_bytes() + b"\0"
    library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    with wave.open(asked.w, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(pieces))
    return 0


if __name__ == "__main__":
    sys.exit(main())
