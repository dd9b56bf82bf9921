"""The line of every key of a TOML document, whatever form the document takes."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.config.keys import KeyPath
from engine.config.locate import locate

Lines = dict[KeyPath, int]

SCALARS = (
    *("1", "-0.5e3", "inf", "true", "0xff", "1979-05-27 07:32:00", "1979-05-27T07:32:00Z", '""', "''"),
    *('"a # b = \\"c\\" ]"', "'[x] # \\'", '"back\\\\"', '"""one"""', '""""two"""""', "'''it''s'''"),
    *('"""\nfake = 1\n[fake]\n"""', "'''\n# ]\nfake = 2\n'''", '"""a\\"""b\n"""', '"""\\\n   x"""'),
)
GAPS = ("", " ", "\n", " # ] } = [x]\n", "\n\n\t")

text = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"), max_size=6)


class Page:
    """A document that is being written, with the line on which each path first stood."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: Lines = {}

    def write(self, text: str) -> None:
        self.text += text

    def mark(self, path: KeyPath) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self.text.count("\n") + 1)


@st.composite
def documents(draw: st.DrawFn) -> Page:
    page = Page()
    write_pairs(draw, page, (), 0, end="\n")
    arrays: dict[str, int] = {}
    for number in range(draw(st.integers(0, 4))):
        page.write(draw(st.sampled_from(("", "\n", "# [comment]\n", "  "))))
        name = draw(st.sampled_from(("first", "second")))
        if draw(st.booleans()):
            index = arrays[name] = arrays.get(name, -1) + 1
            page.mark((name, index))
            page.write(f"[[ {name} ]]\n")
            table: KeyPath = (name, index)
        else:
            parent: KeyPath = (name, arrays[name]) if name in arrays else (f"table{number}",)
            key = draw_key(draw, f"sub{number}")
            table = (*parent, tomllib.loads(f"k = {key}")["k"] if key[0] in "\"'" else key)
            page.mark(table)
            page.write(f"[{parent[0]} . {key}] # header\n")
        write_pairs(draw, page, table, 0, end="\n")
    return page


def draw_key(draw: st.DrawFn, unique: str) -> str:
    """A bare or quoted key that no other key equals."""
    form = draw(st.sampled_from(("bare", "basic", "literal")))
    if form == "bare":
        return unique
    inner = unique + draw(text)
    return json.dumps(inner, ensure_ascii=False) if form == "basic" else f"'{inner.replace(chr(39), '.')}'"


def write_pairs(draw: st.DrawFn, page: Page, table: KeyPath, depth: int, end: str) -> None:
    for number in range(draw(st.integers(0, 3))):
        if end == "," and number:
            page.write(", ")
        keys = [draw_key(draw, f"k{number}"), *(draw_key(draw, "d") for _ in range(draw(st.integers(0, 1))))]
        path = (*table, *(tomllib.loads(f"k = {key}")["k"] if key[0] in "\"'" else key for key in keys))
        page.mark(path)
        page.write(f"{' . '.join(keys)} = ")
        write_value(draw, page, path, depth)
        page.write(draw(st.sampled_from(("\n", " # comment\n", "\n\n"))) if end == "\n" else "")


def write_value(draw: st.DrawFn, page: Page, path: KeyPath, depth: int) -> None:
    form = draw(st.sampled_from(("scalar", "array", "table") if depth < 3 else ("scalar",)))
    if form == "scalar":
        page.write(draw(st.sampled_from(SCALARS)))
    elif form == "table":
        page.write("{ ")
        write_pairs(draw, page, path, depth + 1, end=",")
        page.write(" }")
    else:
        write_array(draw, page, path, depth)


def write_array(draw: st.DrawFn, page: Page, path: KeyPath, depth: int) -> None:
    page.write("[")
    count = draw(st.integers(0, 3))
    for index in range(count):
        page.write(draw(st.sampled_from(GAPS)))
        page.mark((*path, index))
        write_value(draw, page, (*path, index), depth + 1)
        page.write(draw(st.sampled_from(GAPS)))
        page.write("," if index < count - 1 or draw(st.booleans()) else "")
    page.write(draw(st.sampled_from(GAPS)) + "]")


def paths(value: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*at, step)
        yield from paths(item, (*at, step))


@given(documents())
def test_every_key_is_found_on_the_line_it_was_written_on(page: Page) -> None:
    assert locate(page.text) == page.lines
    assert set(page.lines) == set(paths(tomllib.loads(page.text)))


def test_a_table_reached_through_an_array_belongs_to_its_newest_item() -> None:
    lines = locate("[[fruit]]\nname = 1\n[fruit.skin]\ncolour = 2\n[[fruit]]\n[fruit.skin]\ncolour = 3\n")
    assert lines["fruit", 0, "skin", "colour"] == 4
    assert lines["fruit", 1, "skin", "colour"] == 7


def test_a_key_at_the_end_without_a_line_break_is_found() -> None:
    assert locate("a = 1\nb = 2") == {("a",): 1, ("b",): 2}
