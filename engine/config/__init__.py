"""Files and environment become typed settings, once, before anything starts."""

from engine.config.core import CORE_TABLES, CoreSettings, read_core
from engine.config.describe import SettingDoc, describe, render
from engine.config.errors import ConfigError, ConfigErrors
from engine.config.load import find_file, load
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
    Settings,
)

__all__ = (
    "CORE_TABLES",
    "AuthSettings",
    "BusSettings",
    "ConfigError",
    "ConfigErrors",
    "CoreSettings",
    "DatabasesSettings",
    "LimitsSettings",
    "LogSettings",
    "ModelsSettings",
    "PluginsSettings",
    "RawConfig",
    "ServerSettings",
    "SettingDoc",
    "Settings",
    "describe",
    "find_file",
    "load",
    "read_core",
    "render",
)
