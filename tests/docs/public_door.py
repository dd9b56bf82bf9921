"""The reference of `engine.api`, from its source: each name with its signature, what it is, and what it can be asked."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import engine.api
from engine.api import EngineError
from tests.architecture.source import ROOT

LONG = 100
"""Characters that a signature may have on one line."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def names() -> dict[str, list[str]]:
    """The names of the door by the module that they come from, in the order of the door."""
    tree = ast.parse(Path(engine.api.__file__).read_text())
    return {
        node.module: [each.asname or each.name for each in node.names]
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }


def reference() -> str:
    """The whole of it, a section for each module."""
    return "\n\n".join(part for module, found in names().items() for part in _section(module, found))


def _section(module: str, found: Sequence[str]) -> Iterator[str]:
    title = module.rpartition(".")[2].replace("_", " ")
    yield f"## {title[0].upper()}{title[1:]}\n\n{_about(_tree(module))} (`{module}`)"
    for name in found:
        yield "\n\n".join(filter(None, _entry(name, module)))


@cache
def _tree(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def _entry(name: str, module: str) -> Iterator[str]:
    body = _tree(module).body
    for node, following in pairwise([*body, None]):
        match node:
            case ast.ClassDef() if node.name == name:
                yield f"### {name}"
                yield _code(_class(node))
                yield _about(node)
                yield "\n".join(_members(node))
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                yield f"### {name}"
                yield _code(_signature(node))
                yield _about(node)
                return
            case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)) if (
                target == name
            ):
                yield f"### {name}"
                yield _code(f"{name} = {ast.unparse(node.value)}" if node.value is not None else ast.unparse(node))
                yield _note(following)
                return
    raise AssertionError(f"{name} is not in {module}")


def _class(node: ast.ClassDef) -> str:
    """What one writes to make one: the fields, or what `__init__` takes; of an error its code, too."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    head = f"class {node.name}({bases})" if bases else f"class {node.name}"
    kind = getattr(engine.api, node.name)
    if issubclass(kind, EngineError):
        again = ", retryable" if kind.retryable else ""
        return f"{head}  # code {kind.code}, HTTP {kind.status}{again}"
    fields = [ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign) and not _private(each)]
    if fields:
        return "\n    ".join([f"{head}:{'  # by name' if _by_name(node) else ''}", *fields])
    init = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
    return f"{head}:\n    {_signature(init)}" if init is not None else head


def _by_name(node: ast.ClassDef) -> bool:
    """Whether its fields can be given by name alone."""
    told = [
        *node.keywords,
        *(word for each in node.decorator_list if isinstance(each, ast.Call) for word in each.keywords),
    ]
    return any(word.arg == "kw_only" for word in told)


def _private(node: ast.AnnAssign) -> bool:
    return isinstance(node.target, ast.Name) and node.target.id.startswith("_")


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Fields that are documented, properties and methods."""
    for each, following in pairwise([*node.body, None]):
        if isinstance(each, ast.AnnAssign) and not _private(each) and (note := _note(following)):
            yield f"* `{ast.unparse(each.target)}`: {note}"
        elif isinstance(each, Function) and not each.name.startswith("_"):
            told = _about(each)
            yield f"* `{_shown(each)}`: {told}" if told else f"* `{_shown(each)}`"


def _shown(node: Function) -> str:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    if "property" in decorators and node.returns is not None:
        return f"{node.name}: {ast.unparse(node.returns)}"
    return _signature(node, long=None)


def _signature(node: Function, long: int | None = LONG) -> str:
    """The function's line without `self`; one parameter a line where it is longer than `long`."""
    arguments = node.args
    for given in (arguments.posonlyargs, arguments.args):
        if given and given[0].arg in ("self", "cls"):
            arguments = ast.arguments(**{**vars(arguments), "args": arguments.args[1:]})
    word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    name = "" if node.name == "__init__" else node.name
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None and name else ""
    line = f"{word}{name or '__init__'}({ast.unparse(arguments)}){returns}"
    if long is None or len(line) <= long:
        return line
    parts = [ast.unparse(part) for part in _apart(arguments)]
    margin = "    " if not name else ""
    inside = "".join(f"{margin}    {part},\n" for part in parts)
    return f"{word}{name or '__init__'}(\n{inside}{margin}){returns}"


def _apart(arguments: ast.arguments) -> Iterator[ast.arguments]:
    """Each parameter for itself, and the star before those that need a name."""
    plain = dict.fromkeys(("vararg", "kwarg"))
    without = len(arguments.args) - len(arguments.defaults)
    for number, argument in enumerate(arguments.args):
        defaults = arguments.defaults[number - without : number - without + 1] if number >= without else []
        yield ast.arguments(posonlyargs=[], args=[argument], kwonlyargs=[], kw_defaults=[], defaults=defaults, **plain)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield ast.arguments(
            posonlyargs=[],
            args=[argument],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[default] if default else [],
            **plain,
        )


def _about(node: ast.Module | ast.ClassDef | Function) -> str:
    """The first paragraph of a docstring."""
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


def _note(node: ast.stmt | None) -> str:
    """The string below an assignment, as this code documents constants and fields."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.partition("\n\n")[0].split())
    return ""


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
