"""The header of a WAV file says what stands behind it."""

from __future__ import annotations

import io
import wave

from hypothesis import given
from hypothesis import strategies as st

from engine.wire.wav import HEADER, wav_header, wav_rate


@given(st.integers(1, 192_000), st.integers(0, 500))
def test_a_reader_of_others_finds_rate_and_length(rate: int, samples: int) -> None:
    header = wav_header(rate, samples)
    with wave.open(io.BytesIO(header + bytes(2 * samples))) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels(), file.getsampwidth()) == (
            rate,
            samples,
            1,
            2,
        )
    assert (len(header), wav_rate(header)) == (HEADER, rate)
