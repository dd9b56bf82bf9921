"""An owner's migration history as its files tell it, read without importing Alembic or running them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import MetaData

from engine.db.errors import MigrationHistoryInvalid

_REVISION = re.compile(r"^revision\b[^=\n]*=\s*[\"']([^\"'\n]+)[\"']", re.MULTILINE)
_DOWN_REVISION = re.compile(r"^down_revision\b[^=\n]*=\s*(?:[\"']([^\"'\n]+)[\"']|(None)\b)", re.MULTILINE)
_OWNER = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True)
class Migrations:
    """The tables of one owner (the engine or a plugin) and the folder of revision files that build them.

    The folder holds one line of revisions from the first, whose `down_revision` is None, to one head. How far a
    database has come stands in its table `alembic_<owner>`.
    """

    owner: str
    metadata: MetaData
    path: Path

    def __post_init__(self) -> None:
        if not _OWNER.fullmatch(self.owner):
            raise MigrationHistoryInvalid(f"{self.owner!r} cannot own tables; use lower-case letters, digits and _.")

    @property
    def version_table(self) -> str:
        return f"alembic_{self.owner}"

    @cached_property
    def line(self) -> tuple[str, ...]:
        """All revisions, first to head; raises MigrationHistoryInvalid when they are no single line."""
        return _line(self.owner, self.path)

    def after(self, revision: str | None) -> tuple[str, ...]:
        """The revisions that a database at `revision` (None: empty) has not seen."""
        if revision is None:
            return self.line
        if revision not in self.line:
            raise MigrationHistoryInvalid(
                f"The tables of {self.owner} are at revision {revision}, which this version of {self.owner} does not "
                "know. Install the version that wrote it, or a later one."
            )
        return self.line[self.line.index(revision) + 1 :]


def _line(owner: str, path: Path) -> tuple[str, ...]:
    if not path.is_dir():
        raise MigrationHistoryInvalid(f"{owner} has no folder of migrations at {path}.")
    parents = _parents(owner, path)
    heads = sorted(parents.keys() - set(parents.values()))
    if len(heads) > 1:
        raise MigrationHistoryInvalid(
            f"The migrations of {owner} in {path} have several heads: {', '.join(heads)}. "
            f"Set the down_revision of one to the other, so that they form one line."
        )
    line: list[str] = []
    revision = heads[0] if heads else None
    while revision is not None:
        if revision not in parents:
            raise MigrationHistoryInvalid(f"The migrations of {owner} in {path} lack revision {revision}.")
        line.append(revision)
        revision = parents[revision]
    if len(line) < len(parents):
        raise _not_a_line(owner, path, sorted(parents.keys() - set(line)))
    return tuple(reversed(line))


def _parents(owner: str, path: Path) -> dict[str, str | None]:
    parents: dict[str, str | None] = {}
    for file in sorted(path.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        revision, parent = _REVISION.search(source), _DOWN_REVISION.search(source)
        if revision is None and parent is None and file.name.startswith("_"):
            continue
        if revision is None or parent is None:
            raise MigrationHistoryInvalid(f'{file} must set revision = "..." and down_revision = "..." or None.')
        if revision[1] in parents:
            raise MigrationHistoryInvalid(f"The migrations of {owner} in {path} hold revision {revision[1]} twice.")
        parents[revision[1]] = parent[1]
    return parents


def _not_a_line(owner: str, path: Path, revisions: Sequence[str]) -> MigrationHistoryInvalid:
    return MigrationHistoryInvalid(
        f"The migrations of {owner} in {path} are no single line; these stand apart: {', '.join(revisions)}."
    )
