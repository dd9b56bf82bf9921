"""Rows of one shape share a statement as far as nobody can tell."""

from __future__ import annotations

from typing import Any

from engine.api.data import Write
from engine.db.statements import Statements
from tests.engine.db.tables import messages, turns


def turn(id: str, **values: Any) -> Write:
    return Write(turns, "insert", {"id": id, "status": "running", **values})


def message(id: str, turn: str) -> Write:
    return Write(messages, "insert", {"id": id, "turn": turn})


def finish(id: str) -> Write:
    return Write(turns, "update", {"status": "completed"}, {"id": id})


def plan(*groups: list[Write]) -> list[tuple[str, str, list[str]]]:
    steps = Statements("sqlite").plan(groups)
    return [(s.kind, s.table.name, [row.get("id") or row["where_id"] for row in s.rows]) for s in steps]


def test_rows_of_many_groups_share_one_step_per_table_and_kind() -> None:
    assert plan([turn("a"), message("m", "a")], [turn("b"), message("n", "b")]) == [
        ("insert", "turns", ["a", "b"]),
        ("insert", "messages", ["m", "n"]),
    ]


def test_ends_and_beginnings_of_different_turns_share_their_steps() -> None:
    assert plan([turn("a")], [finish("a")], [turn("b")], [finish("b")]) == [
        ("insert", "turns", ["a", "b"]),
        ("update", "turns", ["a", "b"]),
    ]


def test_nothing_overtakes_what_was_done_to_the_same_row() -> None:
    again = Write(turns, "update", {"status": "running", "id": "a"}, {"id": "a"})
    assert plan([turn("a")], [finish("a")], [again], [finish("a")], [finish("b")]) == [
        ("insert", "turns", ["a"]),
        ("update", "turns", ["a"]),
        ("update", "turns", ["a"]),
        ("update", "turns", ["a", "b"]),
    ]


def test_a_write_that_may_touch_any_row_is_overtaken_by_none_of_its_table() -> None:
    sweep = Write(turns, "update", {"status": "failed"}, {"status": "running"})
    steps = Statements("sqlite").plan([[turn("a")], [sweep], [turn("b")]])
    assert [(step.kind, len(step.rows)) for step in steps] == [("insert", 1), ("update", 1), ("insert", 1)]


def test_a_row_does_not_overtake_an_earlier_one_of_its_group() -> None:
    assert plan([message("m", "old"), turn("new"), message("n", "new")]) == [
        ("insert", "messages", ["m"]),
        ("insert", "turns", ["new"]),
        ("insert", "messages", ["n"]),
    ]


def test_nothing_overtakes_a_delete_which_may_cascade() -> None:
    delete = Write(turns, "delete", {}, {"id": "a"})
    assert plan([message("m", "a")], [delete], [message("n", "a")]) == [
        ("insert", "messages", ["m"]),
        ("delete", "turns", ["a"]),
        ("insert", "messages", ["n"]),
    ]


def test_rows_with_other_columns_have_their_own_statement() -> None:
    assert len(plan([turn("a"), turn("b", text="x")])) == 2


def test_a_null_condition_has_its_own_statement() -> None:
    some, none = ({"id": "a", "text": text} for text in ("x", None))
    assert len(plan([Write(turns, "update", {"spent": 1}, some), Write(turns, "update", {"spent": 1}, none)])) == 2


def test_rows_with_expressions_are_never_grouped() -> None:
    add = Write(turns, "update", {"spent": turns.c.spent + 1}, {"id": "a"})
    assert len(plan([add], [add])) == 2


def test_a_statement_is_built_once() -> None:
    statements = Statements("sqlite")
    (first,), (second,) = statements.plan([[turn("a")]]), statements.plan([[turn("b")]])
    assert first.statement is second.statement
