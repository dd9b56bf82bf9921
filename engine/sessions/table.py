"""The command table: which plugin answers which command. Immutable; replaced whole at a switch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.api.commands import Call, Command
from engine.api.errors import FeatureDisabled, Forbidden, UnknownCommand
from engine.api.identity import Principal
from engine.guard import Contained
from engine.sessions.core import CORE_COMMANDS
from engine.wire.validation import explain, nearest

AnyCommand = Command[Any] | Call[Any]


class CommandClash(ValueError):
    """Raised when two plugins answer one command; the message names both."""


class CommandTable:
    """Commands by name. `reserved` maps the first word of a command to the plugin that has it and why it is not there."""

    def __init__(
        self, commands: Iterable[tuple[str, AnyCommand]] = (), reserved: Mapping[str, str] | None = None
    ) -> None:
        self._commands: dict[str, AnyCommand] = {}
        self._reserved = dict(reserved or {})
        self._owners: dict[str, str] = {}
        for owner, command in commands:
            if command.name in self._owners:
                raise CommandClash(f"plugins {self._owners[command.name]!r} and {owner!r} both answer {command.name!r}")
            self._owners[command.name] = owner
            self._commands[command.name] = command

    def get(self, name: str, principal: Principal, *, outside: bool = False) -> AnyCommand:
        """The command of this name, if the caller may use it; `outside` are those who ask by a frame."""
        command = self._commands.get(name)
        if command is None or (outside and isinstance(command, Command) and command.inner):
            raise self._missing(name)
        if not principal.may(command.scope):
            raise Forbidden(f"{name} needs a key with the scope {command.scope!r}")
        return command

    def owner(self, name: str) -> str:
        """The plugin that brought a command of this table."""
        return self._owners[name]

    def brings_both(self, name: str, other: str) -> bool:
        """Whether one plugin brought both commands of this table."""
        return name in self._owners and self._owners[name] == self._owners.get(other)

    def all(self) -> tuple[AnyCommand, ...]:
        """Every command, sorted by name."""
        return tuple(self._commands[name] for name in sorted(self._commands))

    def _missing(self, name: str) -> UnknownCommand | FeatureDisabled:
        why = self._reserved.get(name.partition(".")[0])
        if why is not None:
            return FeatureDisabled(f"{name[:80]!r} belongs to {why}")
        near = nearest(name, [*self._commands, *(core.name for core in CORE_COMMANDS)])
        hint = f"; did you mean {near!r}?" if near else ""
        return UnknownCommand(f"there is no command {name[:80]!r}{hint}", field="type")


def validated(command: AnyCommand, body: Mapping[str, Any] | BaseModel) -> BaseModel:
    """The body as the command's model; raises `InvalidRequest` that names the field."""
    if isinstance(body, command.body):
        return body  # type: ignore[no-any-return]
    try:
        with Contained(f"the validation of {command.name}"):
            model: BaseModel = command.body.model_validate(body)
    except ValidationError as error:
        raise explain(error, command.body) from None
    return model
