"""The route table: immutable, built whole, swapped whole; finds the route of a method and an address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from engine.api.errors import FeatureDisabled, InvalidRequest, MethodNotAllowed, NotFound
from engine.api.routes import Answer, HttpRequest, Route
from engine.config.keys import nearest

_SLASH_TAKEN = "/v1/"
"""Addresses below this mean the same with a slash at their end."""

_LONGEST_GUESSED = 120
MOST_BELOW = 3
"""Addresses that begin with one that is asked for, up to which they are named."""
"""Addresses longer than this get no suggestion: likeness is costly and a scanner's address is like nothing."""


class RouteClash(ValueError):
    """Raised when two routes answer one method and address; `owners` are the plugins, in order of registration."""

    def __init__(self, method: str, path: str, owners: tuple[str, str]) -> None:
        super().__init__(f"{method} {path} is registered by {owners[0]!r} and by {owners[1]!r}; one of them has to go")
        self.owners = owners


class WrongMethod(MethodNotAllowed):
    """The address exists for other methods; `allow` lists them, for the Allow header."""

    def __init__(self, method: str, path: str, allow: Sequence[str]) -> None:
        # OPTIONS is answered everywhere and does nothing of what was wanted; HEAD comes with GET.
        serve = [each for each in allow if each not in ("HEAD", "OPTIONS")]
        super().__init__(f"{_shown(method)} is not allowed at {_shown(path)}; use {', '.join(serve)}")
        self.allow = tuple(allow)


@dataclass(frozen=True, slots=True)
class Match:
    """A route, who registered it, and the decoded parameters of the address."""

    owner: str
    route: Route
    path: dict[str, str]


@dataclass(slots=True)
class _Leaf:
    """All routes of one address by method, each with its own names for the parameters."""

    routes: dict[str, tuple[str, Route, tuple[str, ...]]] = field(default_factory=dict)

    def allow(self) -> tuple[str, ...]:
        methods = {"OPTIONS", *self.routes} | ({"HEAD"} if "GET" in self.routes else set())
        return tuple(sorted(methods))


@dataclass(slots=True)
class _Node:
    """One segment of the tree of addresses."""

    static: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    leaf: _Leaf | None = None
    rest: _Leaf | None = None
    """What answers all that follows here, where nothing more exact does."""

    def find(self, segments: Sequence[str], at: int, values: list[str]) -> _Leaf | None:
        """The leaf for the segments from `at` on, static ones first; `values` receives those that parameters took."""
        if at == len(segments):
            return self.leaf
        segment = segments[at]
        child = self.static.get(segment)
        if child is not None and (leaf := child.find(segments, at + 1, values)) is not None:
            return leaf
        if self.parameter is not None and segment:
            values.append(segment)
            leaf = self.parameter.find(segments, at + 1, values)
            if leaf is not None:
                return leaf
            values.pop()
        if self.rest is not None and all(segments[at:]):
            values.append("/".join(segments[at:]))
            return self.rest
        return None


class RouteTable:
    """Which plugin's route answers an address.

    `reserved` maps prefixes of addresses to the plugin that has them and why it is not there, in words. Raises `RouteClash`
    when two routes claim one method and address, `ValueError` for a template that is none; both name the owner.
    """

    def __init__(self, routes: Iterable[tuple[str, Route]], reserved: Mapping[str, str] = MappingProxyType({})) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        self._whole: dict[str, _Leaf] = {}
        self._templates: dict[str, tuple[str, ...]] = {}
        self._reserved = {_split(prefix.rstrip("/")): why for prefix, why in reserved.items()}
        self._deepest = max(map(len, self._reserved), default=0)
        for owner, route in self.routes:
            self._add(owner, route)

    def resolve(self, method: str, path: str) -> Match:
        """The route for an address as it was sent, percent-encoded and without its query.

        An address with static segments only wins over one with parameters, also when it lacks the method. HEAD is answered
        by GET; OPTIONS by the methods allowed. Raises `NotFound` naming the nearest address, `FeatureDisabled` naming the
        plugin to switch on, `WrongMethod`, or `InvalidRequest` for an address that is no UTF-8.
        """
        leaf, values = self._find(path)
        found = leaf.routes.get(method) or (leaf.routes.get("GET") if method == "HEAD" else None)
        if found is not None:
            owner, route, names = found
            return Match(owner, route, dict(zip(names, values, strict=True)))
        if method == "OPTIONS":
            return Match("engine", _options(path, leaf.allow()), {})
        raise WrongMethod(method, path, leaf.allow())

    def _find(self, path: str) -> tuple[_Leaf, list[str]]:
        leaf = self._whole.get(path)
        if leaf is not None:
            return leaf, []
        segments = _decoded(path)
        values: list[str] = []
        leaf = self._root.find(segments, 0, values)
        if leaf is None and path.startswith(_SLASH_TAKEN) and path.endswith("/") and not segments[-1]:
            # The base addresses of these dialects are often set with a slash too many.
            return self._find(path[:-1])
        if leaf is None:
            raise self._missing(path, segments)
        return leaf, values

    def _add(self, owner: str, route: Route) -> None:
        node, names = self._root, []
        before = node
        for segment in _template(owner, route):
            before, name = node, _parameter(segment)
            if name is None:
                node = node.static.setdefault(segment, _Node())
            else:
                names.append(name)
                node.parameter = node.parameter or _Node()
                node = node.parameter
        node.leaf = node.leaf or _Leaf()
        method = route.method.upper()
        if method in node.leaf.routes:
            raise RouteClash(method, route.path, (node.leaf.routes[method][0], owner))
        node.leaf.routes[method] = (owner, route, tuple(names))
        if route.rest:
            before.rest = node.leaf
        self._templates[route.path] = _split(route.path)
        if not names:
            self._whole[route.path] = node.leaf

    def _missing(self, path: str, segments: tuple[str, ...]) -> NotFound | FeatureDisabled:
        for length in range(min(len(segments), self._deepest), 0, -1):
            why = self._reserved.get(segments[:length])
            if why is not None:
                return FeatureDisabled(f"{_shown(path)} belongs to {why}")
        guess = self._nearest(segments) if len(path) <= _LONGEST_GUESSED else None
        hint = f"; did you mean {guess}?" if guess else self._below(segments)
        return NotFound(f"there is nothing at {_shown(path)}{hint}")

    def _below(self, segments: tuple[str, ...]) -> str:
        """What begins with the address, where that is little enough to be named."""
        below = [path for path, template in self._templates.items() if template[: len(segments)] == segments]
        return f"; there are {' and '.join(sorted(below))}" if 1 < len(below) <= MOST_BELOW else ""

    def _nearest(self, segments: tuple[str, ...]) -> str | None:
        """The template most like the address, its parameters taken as what stands in their place."""
        by_spelling = {_filled(template, segments): path for path, template in self._templates.items()}
        guess = nearest("/".join(segments), by_spelling, 0.75)
        return by_spelling[guess] if guess is not None else None


def _options(path: str, allow: Sequence[str]) -> Route:
    async def answer(request: HttpRequest[Any, Any]) -> Answer:
        return Answer(status=204, headers={"Allow": ", ".join(allow)})

    return Route(method="OPTIONS", path=path, handler=answer, scope=None, status=204)


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))


def _decoded(path: str) -> tuple[str, ...]:
    """The segments of an address; a slash that was sent as %2F stays inside its segment."""
    if "%" not in path:
        return _split(path)
    try:
        return tuple(unquote(segment, errors="strict") for segment in path.split("/"))
    except UnicodeDecodeError:
        raise InvalidRequest(f"the address {_shown(path)} is not UTF-8 once its percent-encoding is undone") from None


def _template(owner: str, route: Route) -> tuple[str, ...]:
    segments = _split(route.path)
    names = [name for segment in segments if (name := _parameter(segment)) is not None]
    plain = [segment for segment in segments if _parameter(segment) is None]
    wrong = any(mark in each for each in plain for mark in "{}%")
    if not route.path.startswith("/") or wrong or len(names) != len(set(names)):
        raise ValueError(
            f"{owner!r} registers {route.method} {route.path!r}, which is no address; write /static/{{name}}, "
            "each name once and alone in its segment"
        )
    return segments


def _parameter(segment: str) -> str | None:
    name = segment[1:-1]
    return name if segment == f"{{{name}}}" and name.isidentifier() else None


def _filled(template: tuple[str, ...], segments: tuple[str, ...]) -> str:
    return "/".join(
        segments[at] if _parameter(segment) and at < len(segments) else segment for at, segment in enumerate(template)
    )


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_GUESSED else text[:_LONGEST_GUESSED] + "…"
