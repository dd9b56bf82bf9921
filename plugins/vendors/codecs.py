"""Audio in and out of its containers: samples to what a listener asked for, and any file to samples.

Samples are mono, of 16 bits, little-endian.
"""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

from engine.api import EngineError, FrameTooLarge, InvalidRequest, ModelUnavailable, UnsupportedMedia, load_packages
from engine.wire.g711 import G711, LAWS
from engine.wire.wav import wav_header

if TYPE_CHECKING:
    import av

AudioFormat: TypeAlias = Literal["pcm", "wav", "mp3", "opus", "aac", "flac", "mulaw", "alaw"]

MEDIA_TYPES: dict[str, str] = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mulaw": "audio/PCMU",
    "alaw": "audio/PCMA",
}

# Container and codec of FFmpeg's, and the bits a second.
_ENCODINGS: dict[str, tuple[str, str, int]] = {
    "mp3": ("mp3", "libmp3lame", 64_000),
    "opus": ("ogg", "libopus", 32_000),
    "aac": ("adts", "aac", 64_000),
    "flac": ("flac", "flac", 0),
}
# FFmpeg opens what the file names, too: a list of other files would be read from this machine, and a description of a session
# would listen on its network. Only what holds its sound itself is read, and by no address.
_CONTAINERS = (
    "wav", "w64", "aiff", "au", "caf", "mp3", "aac", "flac", "ogg", "mov", "matroska", "asf", "avi", "mpegts", "mpeg", "flv",
    "amr", "ac3", "eac3", "wv", "tta", "ape", "dsf",
)  # fmt: skip
_READING = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "none"}
_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
RATES: dict[str, tuple[int, ...]] = {
    "mp3": _MPEG_RATES,
    "aac": _MPEG_RATES,
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
"""Samples a second that the encoders know, as far as we write them; other formats have any."""

_INSTALL = "pip install 'betterai-engine[voice]'"

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000

SOURCE_RATES = (4_000, 384_000)
"""Samples a second of a recording: from a poor telephone line to the finest studio. A second of fewer takes no bytes."""

MOST_DECODING = 180.0
"""Seconds of work on one recording: hours of any usual format take a tenth of it."""

LINE_RATE = 8_000
"""Samples a second of a telephone line: of G.711, where nobody asks for another."""


class AudioEncoder(Protocol):
    """Turns samples into the bytes of one file."""

    def feed(self, pcm: bytes) -> bytes:
        """Bytes that are ready now."""
        ...

    def finish(self) -> bytes:
        """The rest of the file."""
        ...


def missing() -> str | None:
    """Why compressed audio cannot be read or written here; None where it can."""
    return None if find_spec("av") else f"the package av is not installed: {_INSTALL}"


def encoder(format: AudioFormat, source: int, rate: int | None = None) -> AudioEncoder:
    """For samples of `source` a second, written with `rate`; raises `UnsupportedMedia` for what is not possible here."""
    target = rate_of(format, source, rate)
    samples: AudioEncoder = _Plain() if target == source else _Resampled(source, target)
    if format == "pcm":
        return samples
    if format == "wav":
        return _Chained(samples, _Wav(target))
    if format in LAWS:
        return _Chained(samples, _Line(LAWS[format]))
    if (reason := missing()) is not None:
        raise UnsupportedMedia(f"{format} cannot be written: {reason}; pcm, wav, mulaw and alaw can", field="format")
    return _Chained(samples, _Compressed(format, target))


def rate_of(format: AudioFormat, source: int, rate: int | None = None) -> int:
    """Samples a second of what `encoder` writes."""
    target = rate or (LINE_RATE if format in LAWS else source)
    known = RATES.get(format)
    if known is None or target in known:
        return target
    # A voice may have a rate of its own, and Opus is opened with the next one in any case.
    return next(each for each in known if each >= min(target, HIGHEST_RATE))


def is_cheap(format: AudioFormat, source: int, rate: int | None = None) -> bool:
    """Whether encoding takes so little that it need not leave the event loop."""
    return format in ("pcm", "wav") and (rate or source) == source


class _Plain:
    def feed(self, pcm: bytes) -> bytes:
        return pcm

    def finish(self) -> bytes:
        return b""


class _Wav:
    def __init__(self, rate: int) -> None:
        self._header = wav_header(rate)

    def feed(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        return self.feed(b"")


class _Line:
    def __init__(self, law: G711) -> None:
        self._law = law

    def feed(self, pcm: bytes) -> bytes:
        return self._law.encode(pcm)

    def finish(self) -> bytes:
        return b""


async def load_resampling() -> None:
    """Import what a `Resampler` needs. Where that is not installed, whoever makes one says so."""
    with suppress(ModelUnavailable):
        await load_packages("numpy", "soxr", extra="voice")


async def open_encoder(format: AudioFormat, source: int, rate: int | None = None) -> AudioEncoder:
    """`encoder`, after what it needs was imported."""
    if rate_of(format, source, rate) != source:
        await load_resampling()
    if format not in _ENCODINGS or missing() is not None:
        return encoder(format, source, rate)
    await load_packages("numpy", "av", extra="voice")
    # FFmpeg's binding imports some of itself with the first file.
    return await asyncio.to_thread(encoder, format, source, rate)


def pieces_of(pcm: bytes, rate: int) -> Iterator[bytes]:
    """Samples in pieces of at most a second: what a model, a vendor or a queue takes at once has a bound."""
    for at in range(0, len(pcm), rate * 2):
        yield pcm[at : at + rate * 2]


class Resampler:
    """Samples of one rate as samples of another, without a seam between the pieces."""

    def __init__(self, source: int, target: int) -> None:
        try:
            # Loaded before (`load_resampling`): numpy is heavy, and most audio comes at the rate that is wanted.
            import soxr
        except ImportError as error:
            raise ModelUnavailable(f"the rate of audio cannot be changed: {error}; {_INSTALL}") from None

        self._stream = soxr.ResampleStream(source, target, 1, dtype="int16")

    def feed(self, pcm: bytes, *, last: bool = False) -> bytes:
        """What can be told of by now."""
        # Imported on first use, as above.
        import numpy

        return cast("bytes", self._stream.resample_chunk(numpy.frombuffer(pcm, "<i2"), last=last).tobytes())


class _Resampled:
    def __init__(self, source: int, target: int) -> None:
        self._resampler = Resampler(source, target)

    def feed(self, pcm: bytes) -> bytes:
        return self._resampler.feed(pcm)

    def finish(self) -> bytes:
        return self._resampler.feed(b"", last=True)


class _Chained:
    def __init__(self, first: AudioEncoder, second: AudioEncoder) -> None:
        self._first = first
        self._second = second

    def feed(self, pcm: bytes) -> bytes:
        return self._second.feed(self._first.feed(pcm))

    def finish(self) -> bytes:
        return self._second.feed(self._first.finish()) + self._second.finish()


class _Compressed:
    def __init__(self, format: str, rate: int) -> None:
        # Loaded before (`open_encoder`): it brings all of FFmpeg.
        import av

        container, codec, bits = _ENCODINGS[format]
        self._file = _Pipe()
        self._output = cast("Any", av.open(cast("IO[bytes]", self._file), "w", container))
        self._stream = cast("Any", self._output.add_stream(codec, rate=rate, layout="mono"))
        if bits:
            self._stream.bit_rate = bits
        self._rate = rate
        self._at = 0

    def feed(self, pcm: bytes) -> bytes:
        if pcm:
            # Imported on first use, as above.
            import av

            # Imported on first use, as above.
            import numpy

            frame = av.AudioFrame.from_ndarray(numpy.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = self._rate
            frame.pts = self._at
            self._at += frame.samples
            for packet in self._stream.encode(frame):
                self._output.mux(packet)
        return self._file.take()

    def finish(self) -> bytes:
        for packet in self._stream.encode(None):
            self._output.mux(packet)
        self._output.close()
        return self._file.take()


class _Pipe(io.RawIOBase):
    """A file that is written once and cannot be gone back in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        data, self._pieces = b"".join(self._pieces), []
        return data


class Damage:
    """Whether some of a recording could not be read."""

    found = False


def decode(file: IO[bytes], rate: int, damage: Damage | None = None, longest: float = math.inf) -> Iterator[bytes]:
    """The samples of the first sound track of a file, `rate` a second, about a quarter of a second at a time.

    Blocks: call it in a thread. What is damaged is passed over and told in `damage`. Raises `UnsupportedMedia` for what holds
    no sound, and for a file that is cut off before its first sample; `FrameTooLarge` for more than `longest` seconds of sound,
    and for what takes minutes to decode. What a header says of the length is not believed.
    """
    if not file.seek(0, io.SEEK_END):
        raise InvalidRequest("the file is empty; send a recording", field="file")
    file.seek(0)
    if (reason := missing()) is not None:
        raise UnsupportedMedia(f"recordings cannot be read: {reason}", field="file")
    # Imported on first use, as above.
    import av

    damage = damage or Damage()
    heard = False
    try:
        with av.open(file, "r", options=_READING) as source:
            if not source.streams.audio:
                raise UnsupportedMedia("the file has no sound track", field="file")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            left = longest * rate
            for frame in chain(_frames(source, damage, MOST_DECODING), (None,)):
                if frame is not None:
                    _check_source_rate(frame.sample_rate)
                for each in resampler.resample(frame):
                    heard = True
                    left -= each.samples
                    if left < 0:
                        raise FrameTooLarge(
                            f"the recording is longer than {longest:g} seconds", field="file", limit=int(longest)
                        )
                    yield each.to_ndarray().tobytes()
    except EngineError:
        raise
    except (av.FFmpegError, ValueError, IndexError):
        # What was heard before a file breaks off was heard.
        damage.found = True
    if damage.found and not heard:
        raise UnsupportedMedia(
            "the file is no recording that can be read, or is cut off: send wav, mp3, m4a, ogg, flac or webm",
            field="file",
        )


def _frames(source: av.container.InputContainer, damage: Damage, seconds: float) -> Iterator[Any]:
    """The frames, as long as reading and decoding them has taken no more than so many seconds."""
    # Imported on first use, as above.
    import av

    packets, spent = source.demux(audio=0), 0.0
    while spent < seconds:
        begun = time.perf_counter()
        try:
            frames = next(packets).decode()
        except av.InvalidDataError:
            damage.found, frames = True, []
        except (StopIteration, av.EOFError):
            return
        spent += time.perf_counter() - begun
        yield from frames
    raise FrameTooLarge(f"the recording takes longer than {seconds:g} seconds to decode", field="file")


def _check_source_rate(rate: int) -> None:
    low, high = SOURCE_RATES
    if not low <= rate <= high:
        raise UnsupportedMedia(
            f"the recording says that it has {rate} samples a second; from {low} to {high} are read", field="file"
        )


def check_rate(format: AudioFormat, rate: int | None, field: str = "rate") -> None:
    """Raise `InvalidRequest` for a rate that the format does not have, with those that it has."""
    known = RATES.get(format)
    if rate is not None and known is not None and format != "opus" and rate not in known:
        listed = ", ".join(map(str, known))
        raise InvalidRequest(f"{format} has no {rate} samples a second; it has {listed}", field=field)
