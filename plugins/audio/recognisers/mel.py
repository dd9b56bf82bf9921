"""The logarithmic mel spectrogram that Whisper listens to.

Parameters and scale as in OpenAI's reference: `whisper/audio.py` (windows of 400 samples every 160, Hann, bands of
Slaney's scale and area, logarithm to base 10 clamped to 8 below the highest, then `(x + 4) / 4`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from plugins.audio.recognisers.recogniser import RATE, Samples

WINDOW = 400
HOP = 160
FRAMES = RATE // HOP
"""Frames of a second."""


def log_mel(samples: Samples, bands: int) -> NDArray[np.float32]:
    """Shape (bands, frames), a frame for each `HOP` samples."""
    half = WINDOW // 2
    padded = np.pad(samples, half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(samples) // HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    mel = np.log10(np.maximum(filters(bands) @ power.T.astype(np.float32), 1e-10))
    mel = np.maximum(mel, mel.max() - 8.0)
    return np.ascontiguousarray((mel + 4.0) / 4.0, dtype=np.float32)


@cache
def filters(bands: int) -> NDArray[np.float32]:
    """Triangles that are even on Slaney's scale (linear below 1 kHz, logarithmic above), each of the same area."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = _hertz(np.linspace(0.0, _mels(RATE / 2), bands + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - frequencies[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None], dtype=np.float32)


_LINEAR = 200.0 / 3
_KNEE = 1_000.0
_STEP = np.log(6.4) / 27.0


def _mels(hertz: float) -> float:
    if hertz < _KNEE:
        return hertz / _LINEAR
    return float(_KNEE / _LINEAR + np.log(hertz / _KNEE) / _STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _KNEE / _LINEAR
    return np.where(mels < knee, mels * _LINEAR, _KNEE * np.exp(_STEP * (mels - knee)))
