"""The traffic language that upstream, load generator and cases share: how many chunks, how far apart, stamped how."""

import re
import time

import msgspec

MARK = b" T~"
STAMP = re.compile(MARK + rb"(\d{16})")
SPEC = re.compile(rb"mock-(\d{1,7})x(\d{1,7}(?:\.\d+)?)(?:x(\d{1,5})(?:x(\d{1,3}))?)?")


class Traffic(msgspec.Struct, frozen=True):
    """One answer: `chunks` pieces of text, `per_write` to a write, `gap` ms between writes, `pad` bytes added to each."""

    chunks: int
    gap: float
    pad: int = 0
    per_write: int = 1

    @property
    def name(self) -> str:
        return f"mock-{self.chunks}x{self.gap:g}x{self.pad}x{self.per_write}"

    @property
    def seconds(self) -> float:
        """How long one answer takes at least."""
        return self.chunks / self.per_write * self.gap / 1000

    @property
    def prompt(self) -> str:
        """A user's message that asks for this traffic."""
        return f"Tell me about a lighthouse keeper and the sea, in a few sentences. {self.name}"


def find_traffic(body: bytes) -> Traffic | None:
    """The first `mock-<chunks>x<gap ms>[x<pad>[x<per write>]]` in a request body, wherever it stands."""
    if not (found := SPEC.search(body)):
        return None
    chunks, gap, pad, per_write = found.groups()
    return Traffic(int(chunks), float(gap), int(pad or 0), max(1, int(per_write or 1)))


def monotonic_us() -> int:
    """Microseconds of the clock that all processes of one machine share."""
    return time.monotonic_ns() // 1000
