"""The product's source files as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One file of ours; `module` is its dotted name."""

    path: Path

    @property
    def name(self) -> str:
        """The path as a reader of a failure wants it."""
        return str(self.path.relative_to(ROOT))

    @property
    def module(self) -> str:
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of every import, those inside functions and under TYPE_CHECKING included.

        `from package import name` gives both the package and the name in it, which may be a module.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno} imports by a relative name"
                module = node.module or ""
                yield node.lineno, module
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def sources(*folders: str) -> list[Source]:
    """Every Python file below the folders, in a fixed order."""
    return [Source(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
