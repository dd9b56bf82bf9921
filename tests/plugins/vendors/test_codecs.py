"""Recordings of any kind as samples, and samples in the rates that a format has."""

from __future__ import annotations

import io
from itertools import islice
from typing import Any

import av
import pytest

from engine.api import FrameTooLarge, InvalidRequest, UnsupportedMedia
from engine.wire.wav import wav_header
from plugins.vendors.codecs import HIGHEST_RATE, LOWEST_RATE, RATES, AudioFormat, check_rate, decode, encoder, rate_of

CODECS = {"mp3": "libmp3lame", "aac": "aac", "opus": "libopus"}
FORMATS: tuple[AudioFormat, ...] = ("pcm", "wav", "mp3", "opus", "aac", "flac", "mulaw", "alaw")


@pytest.mark.parametrize("format", CODECS)
def test_the_rates_are_those_of_the_encoder(format: str) -> None:
    known: Any = av.codec.Codec(CODECS[format], "w").audio_rates
    assert sorted(RATES[format]) == sorted(rate for rate in known if LOWEST_RATE <= rate <= HIGHEST_RATE)


@pytest.mark.parametrize("format", ["mp3", "aac"])
@pytest.mark.parametrize("rate", [8_001, 12_345, 47_999])
def test_a_rate_that_the_format_does_not_have_is_refused_with_those_that_it_has(format: AudioFormat, rate: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{format} has no {rate} samples a second; it has 8000, 11025, .* 48000"):
        check_rate(format, rate)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 11_025, 12_345, 24_000, 47_999, 48_000])
def test_every_rate_that_is_taken_can_be_written(format: AudioFormat, rate: int) -> None:
    try:
        check_rate(format, rate)
    except InvalidRequest:
        return
    made = encoder(format, 16_000, rate)
    assert made.feed(bytes(16_000)) + made.finish()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("source", [8_000, 20_000, 22_050, 44_099, 96_000])
def test_a_voice_of_any_rate_can_be_written(format: AudioFormat, source: int) -> None:
    made = encoder(format, source)
    assert made.feed(bytes(16_000)) + made.finish()
    assert rate_of(format, source) <= max(source, 8_000) or format in RATES


def wav(rate: int, seconds: float) -> io.BytesIO:
    samples = int(16_000 * seconds)
    made = bytearray(wav_header(16_000, samples) + bytes(samples * 2))
    made[24:28] = rate.to_bytes(4, "little")
    return io.BytesIO(bytes(made))


@pytest.mark.parametrize("rate", [1, 3_999, 384_001])
def test_a_recording_of_an_impossible_rate_becomes_nothing(rate: int) -> None:
    with pytest.raises(UnsupportedMedia, match=f"{rate} samples a second"):
        list(islice(decode(wav(rate, 1), 16_000), 1))


@pytest.mark.parametrize("rate", [4_000, 44_100, 192_000])
def test_a_recording_of_a_usual_rate_is_read(rate: int) -> None:
    heard = b"".join(decode(wav(rate, 1), 16_000))
    assert len(heard) / 2 == pytest.approx(16_000 * 16_000 / rate, rel=0.01)


def test_no_more_sound_than_allowed_comes_out_of_a_file() -> None:
    heard = 0
    with pytest.raises(FrameTooLarge, match="longer than 2 seconds"):
        for piece in decode(wav(16_000, 10), 16_000, longest=2):
            heard += len(piece)
    assert heard <= 2 * 32_000


def test_a_header_that_says_more_than_there_is_is_not_believed() -> None:
    sound = io.BytesIO(wav_header(16_000, None) + bytes(32_000))
    assert len(b"".join(decode(sound, 16_000, longest=2))) == 32_000


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(InvalidRequest, match="the file is empty"):
        next(decode(io.BytesIO(), 16_000))
