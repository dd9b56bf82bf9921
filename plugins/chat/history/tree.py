"""The tree that a conversation's messages form: pure functions over who is whose parent.

A message whose parent is missing counts as a root, and messages that are each other's parents are in no branch, so that no
damage to the rows can hang a reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Parents = Mapping[str, str | None]
"""Each message's parent; None for a root. Ids sort by age."""


def path(parents: Parents, leaf: str | None) -> list[str]:
    """The messages from the root down to `leaf`; none for a leaf that is not there."""
    found: list[str] = []
    seen: set[str] = set()
    while leaf is not None and leaf in parents and leaf not in seen:
        seen.add(leaf)
        found.append(leaf)
        leaf = parents[leaf]
    found.reverse()
    return found


def branches(parents: Parents) -> dict[str | None, list[str]]:
    """The children of each message that has some, oldest first; those of None are the roots."""
    found: dict[str | None, list[str]] = {}
    for message in sorted(parents):
        parent = parents[message]
        found.setdefault(parent if parent in parents else None, []).append(message)
    return found


def siblings(parents: Parents, message: str) -> list[str]:
    """The message and its alternatives, oldest first."""
    parent = parents[message]
    return branches(parents)[parent if parent in parents else None]


def subtree(parents: Parents, message: str | None) -> list[str]:
    """The message and all below it, each after its parent and each branch whole; None gives every tree."""
    below = branches(parents)
    waiting = list(reversed(below.get(None, []))) if message is None else [message]
    found: list[str] = []
    seen: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            found.append(current)
            waiting.extend(reversed(below.get(current, [])))
    return found


def newest_leaf(parents: Parents, message: str | None) -> str | None:
    """The youngest message without children at or below `message`; None looks everywhere and finds None in an empty tree."""
    below = branches(parents)
    return max((each for each in subtree(parents, message) if each not in below), default=message)


def leaf_without(parents: Parents, removed: Sequence[str], leaf: str | None) -> str | None:
    """Where the shown branch ends once a subtree, its top first, is gone: the leaf itself, else the next best nearby."""
    gone = set(removed)
    if leaf is not None and leaf in parents and leaf not in gone:
        return leaf
    rest = {message: parent for message, parent in parents.items() if message not in gone}
    above = parents[removed[0]]
    return newest_leaf(rest, above if above in rest else None)
