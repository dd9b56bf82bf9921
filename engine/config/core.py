"""The engine's tables read together, with every problem of the configuration in one message."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel

from engine.config.errors import ConfigError, ConfigErrors
from engine.config.raw import RawConfig
from engine.config.settings import (
    AuthSettings,
    BusSettings,
    DatabasesSettings,
    LimitsSettings,
    LogSettings,
    ModelsSettings,
    PluginsSettings,
    ServerSettings,
    TracingSettings,
)

M = TypeVar("M", bound=BaseModel)

CORE_TABLES: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "server": ServerSettings,
        "auth": AuthSettings,
        "plugins": PluginsSettings,
        "models": ModelsSettings,
        "databases": DatabasesSettings,
        "limits": LimitsSettings,
        "bus": BusSettings,
        "log": LogSettings,
        "tracing": TracingSettings,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """What the operator decided about the engine itself."""

    server: ServerSettings
    auth: AuthSettings
    plugins: PluginsSettings
    models: ModelsSettings
    databases: DatabasesSettings
    limits: LimitsSettings
    bus: BusSettings
    log: LogSettings
    tracing: TracingSettings


def read_core(raw: RawConfig) -> CoreSettings:
    """The engine's tables; raises ConfigErrors with the problems of all of them."""
    problems: list[ConfigError] = []

    def read(name: str, model: type[M]) -> M:
        try:
            return raw.table(name, model)
        except ConfigErrors as found:
            problems.extend(found.errors)
            # Never seen by a caller: the problems are raised below.
            return model.model_construct()

    core = CoreSettings(
        server=read("server", ServerSettings),
        auth=read("auth", AuthSettings),
        plugins=read("plugins", PluginsSettings),
        models=read("models", ModelsSettings),
        databases=read("databases", DatabasesSettings),
        limits=read("limits", LimitsSettings),
        bus=read("bus", BusSettings),
        log=read("log", LogSettings),
        tracing=read("tracing", TracingSettings),
    )
    if problems:
        raise ConfigErrors(problems)
    return core
