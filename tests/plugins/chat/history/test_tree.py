"""Branches of a tree of messages."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from plugins.chat.history.tree import branches, leaf_without, newest_leaf, path, siblings, subtree

EDITED = {"a": None, "b": "a", "c": "b", "d": "a", "e": "d", "f": None}
"""a is answered by b and by d, and f is written beside a."""


def test_the_path_to_a_leaf_begins_at_its_root() -> None:
    assert path(EDITED, "c") == ["a", "b", "c"]
    assert path(EDITED, "f") == ["f"]
    assert path(EDITED, None) == []
    assert path(EDITED, "unknown") == []


def test_siblings_are_the_alternatives_under_one_parent_oldest_first() -> None:
    assert siblings(EDITED, "d") == ["b", "d"]
    assert siblings(EDITED, "a") == ["a", "f"]


def test_the_newest_leaf_is_looked_for_under_a_message_or_everywhere() -> None:
    assert newest_leaf(EDITED, "b") == "c"
    assert newest_leaf(EDITED, "a") == "e"
    assert newest_leaf(EDITED, None) == "f"
    assert newest_leaf({}, None) is None


def test_a_subtree_tells_each_branch_whole() -> None:
    assert subtree(EDITED, "a") == ["a", "b", "c", "d", "e"]
    assert subtree(EDITED, None) == ["a", "b", "c", "d", "e", "f"]


def test_a_branch_that_is_removed_gives_way_to_its_neighbour() -> None:
    assert leaf_without(EDITED, ["d", "e"], "e") == "c"
    assert leaf_without(EDITED, ["b", "c"], "e") == "e"
    assert leaf_without(EDITED, ["a", "b", "c", "d", "e"], "c") == "f"
    assert leaf_without({"a": None}, ["a"], "a") is None


def test_the_last_answer_that_is_removed_leaves_its_question() -> None:
    assert leaf_without({"a": None, "b": "a"}, ["b"], "b") == "a"


def test_messages_that_are_each_others_parents_hang_nobody() -> None:
    damaged = {"a": "b", "b": "a", "c": "gone"}
    assert path(damaged, "a") == ["b", "a"]
    assert subtree(damaged, None) == ["c"]
    assert path(damaged, "c") == ["c"]


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str | None]:
    """Trees whose messages are younger than their parents, as they come about."""
    size = draw(st.integers(1, 25))
    ids = [f"m{i:02}" for i in range(size)]
    return {id: draw(st.sampled_from([None, *ids[:i]])) for i, id in enumerate(ids)}


@given(trees())
def test_every_message_is_in_the_whole_tree_once_and_after_its_parent(tree: dict[str, str | None]) -> None:
    order = subtree(tree, None)
    assert sorted(order) == sorted(tree)
    assert all(parent is None or order.index(parent) < order.index(id) for id, parent in tree.items())


@given(trees())
def test_a_path_follows_the_parents_and_ends_with_its_leaf(tree: dict[str, str | None]) -> None:
    for leaf in tree:
        found = path(tree, leaf)
        assert found[-1] == leaf
        assert tree[found[0]] is None
        assert all(tree[below] == above for above, below in pairwise(found))


@given(trees())
def test_the_newest_leaf_under_a_message_has_no_children_and_runs_through_it(tree: dict[str, str | None]) -> None:
    below = branches(tree)
    for message in tree:
        leaf = newest_leaf(tree, message)
        assert leaf is not None and leaf not in below
        assert message in path(tree, leaf)
        assert all(other <= leaf for other in subtree(tree, message) if other not in below)


@given(trees(), st.data())
def test_whatever_is_removed_a_leaf_of_what_is_left_is_shown(tree: dict[str, str | None], data: st.DataObject) -> None:
    shown = data.draw(st.sampled_from(sorted(tree)))
    removed = subtree(tree, data.draw(st.sampled_from(sorted(tree))))
    rest = {id: parent for id, parent in tree.items() if id not in removed}
    leaf = leaf_without(tree, removed, shown)
    assert leaf in rest if rest else leaf is None
    if shown in rest:
        assert leaf == shown
    elif tree[removed[0]] is not None:
        assert tree[removed[0]] in path(rest, leaf)
