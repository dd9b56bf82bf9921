"""The pages as tests read them: blocks of code, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("bench/*.md"))]

_BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\((?P<to>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the words behind it, and the text."""

    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def file(self) -> str | None:
        """The name of the file that it is, where it says so."""
        name, _, value = self.info.partition(" ")[2].partition("=")
        return value if name == "file" else None


def blocks(path: Path, *infos: str) -> list[Block]:
    """The blocks of a page; those with one of the given infos, where any is given."""
    found = [Block(match["info"].strip(), match["text"]) for match in _BLOCK.finditer(path.read_text())]
    return [block for block in found if not infos or block.info in infos]


def links(path: Path) -> Iterator[str]:
    """Where the page's links go, those in blocks of code left out."""
    yield from (match["to"] for match in _LINK.finditer(_BLOCK.sub("", path.read_text())))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for match in _HEADING.finditer(_BLOCK.sub("", path.read_text())):
        slug = re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-")
        number = 1
        unique = slug
        while unique in found:
            unique, number = f"{slug}-{number}", number + 1
        found.add(unique)
    return found
