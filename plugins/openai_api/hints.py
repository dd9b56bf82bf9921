"""One policy for what a translated request cannot carry: hints are dropped and named, demands are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import structlog
from pydantic import BaseModel, ConfigDict

from engine.api import Body, Target, UnsupportedParameter

log = structlog.get_logger(__name__)

HEADER = "X-BetterAI-Ignored"
"""The response header that names the fields that were dropped."""

_MOST_NAMED = 24
_LONGEST_NAME = 80
_INDEX = re.compile(r"\.\d+(?=\.|$)")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.\[\]-]")


class Open(Body):
    """Root of bodies that take unknown fields, so that `Hints` can judge them. `passed_whole` bodies are not judged."""

    model_config = ConfigDict(extra="allow")

    passed_whole: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the unknown fields of a dialect ask for.

    `demands` change what the answer is; each comes with what would be right. `neutral` are values that ask for nothing.
    Any other unknown field is a hint: the answer without it is still an answer to the request.
    """

    demands: Mapping[str, str]
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


class Hints:
    """The hints of one request that are dropped. With `strict` each is refused instead."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._dropped: dict[str, None] = {}

    def drop(self, name: str) -> None:
        """Drop a field; in strict mode raises `UnsupportedParameter` that names it."""
        if self._strict:
            raise UnsupportedParameter(
                f"{_shown(name)} means nothing to this model's vendor; leave it out (this server refuses what it would "
                "ignore: [plugins.openai_api] strict)",
                field=name,
            )
        if len(self._dropped) <= _MOST_NAMED:
            self._dropped[_INDEX.sub("[]", name)] = None

    def judge(self, body: Any, rules: Rules, at: str = "") -> None:
        """Drop the unknown fields of a body and of all that it holds; raises `UnsupportedParameter` for a demand.

        `at` is the path of the body itself, with a dot at its end.
        """
        for name, value in unknown_fields(body, at) if isinstance(body, BaseModel) else ():
            if _asks_nothing(name, value, rules):
                continue
            if (advice := rules.demands.get(_INDEX.sub("[]", name))) is not None:
                raise UnsupportedParameter(f"{name} is not taken for this model; {advice}", field=name)
            self.drop(name)

    @property
    def dropped(self) -> list[str]:
        """The names of the dropped fields, with `[]` for each place in a list."""
        return list(self._dropped)

    def report(self) -> None:
        """Write them to the log: for what has no response headers."""
        self.headers()

    def headers(self) -> dict[str, str]:
        """The response header that names them, if there are any. Writes them to the log, too."""
        if not self._dropped:
            return {}
        names = [_NOT_IN_A_NAME.sub("?", name)[:_LONGEST_NAME] for name in self._dropped]
        log.debug("fields_ignored", fields=names)
        more = ["..."] if len(names) > _MOST_NAMED else []
        return {HEADER: ", ".join([*names[:_MOST_NAMED], *more])}


def unknown_fields(body: BaseModel, at: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of each field that a body or one within it does not know."""
    if getattr(body, "passed_whole", False):
        return
    for name, value in (body.model_extra or {}).items():
        yield f"{at}{name}", value
    for name, value in body.__dict__.items():
        if isinstance(value, BaseModel):
            yield from unknown_fields(value, f"{at}{name}.")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, BaseModel):
                    yield from unknown_fields(each, f"{at}{name}.{index}.")


def thinks(target: Target) -> bool:
    """Whether the model may be told how hard to think, which is a wish: one that does not think answers without."""
    return target.can("reasoning") and not target.lacks("reasoning_effort")


def _asks_nothing(name: str, value: Any, rules: Rules) -> bool:
    if value is None or value is False or (isinstance(value, str | list | dict) and not value):
        return True
    return value in rules.neutral.get(name.rpartition(".")[2], ())


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


def without_blanks(given: Any) -> Any:
    """A body without the fields that are an empty text: many forms send one where nothing was entered."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if value != ""}
