"""Writes the generated parts of the pages anew: `python -m tests.docs.generate`."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.source import ROOT
from tests.docs.parts import MARK, rewrite
from tests.docs.terminal import picture

DOCS = ROOT / "docs"
PICTURE = DOCS / "images" / "terminal.svg"


def generated_pages() -> list[Path]:
    """The pages that have a generated part."""
    return [path for path in sorted(DOCS.rglob("*.md")) if MARK.search(path.read_text())]


def main() -> None:
    """Write what has changed."""
    for path in generated_pages():
        write(path, rewrite(path.read_text()))
    write(PICTURE, picture())


def write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
