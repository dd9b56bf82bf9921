"""All that can be said of a configuration without starting anything: everything that is wrong in it, at once."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from engine.api.errors import EngineError
from engine.auth.secret import auth_secret
from engine.config import ConfigError, ConfigErrors, RawConfig
from engine.config.keys import KeyPath, key_text, split_key
from engine.loader.find import installed_plugins
from engine.loader.health import check_lines
from engine.loader.load import SAID_THERE, RequiredPluginFailed
from engine.loader.tables import histories
from engine.main import SECRET_FILE, Engine

ROUNDS = 20
"""Times that a configuration is judged again without what was wrong in it."""

BRING_MODELS = ("models", "plugins", "vendors")
"""Tables that bring models, or names for them."""

PLUGIN_NAMES = ("plugins.enabled", "plugins.required")


@dataclass(slots=True)
class Verdict:
    """`mistakes` stop the start; `lacking` is what was asked for and a server that starts would not have.

    `remarks` are worth knowing, and keep nothing from working.
    """

    mistakes: list[ConfigError] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def judged(raw: RawConfig) -> Verdict:
    """Judge all; what is wrong is left out, and the rest judged again. Raises what no setting is to blame for."""
    verdict = Verdict()
    engine: Engine | None = None
    written = raw
    for _ in range(ROUNDS):
        engine, found = _assembled(raw)
        known = {str(error) for error in verdict.mistakes}
        # What is left out has its default, of which nothing is said: the operator has not written it.
        judged_already = {error.key for error in verdict.mistakes if error.key not in PLUGIN_NAMES}
        placed = [_placed(error, written) for error in found]
        new = [error for error in placed if str(error) not in known and error.key not in judged_already]
        verdict.mistakes += new
        if not new:
            break
        raw = _without(raw, new)
    if engine is not None:
        if all(error.key != "auth.secret" for error in verdict.mistakes):
            verdict.mistakes += (_placed(error, written) for error in _secret(engine))
        verdict.lacking += _lacking(engine, written)
        # A name may lead to a model that was left out with what is wrong; one that is like another is a slip all the same.
        whole = not any(error.key.startswith(BRING_MODELS) for error in verdict.mistakes)
        verdict.lacking += (line for line in _misnamed(engine, written) if whole or "did you mean" in line)
        verdict.remarks += _remarks(engine)
    return verdict


def _assembled(raw: RawConfig) -> tuple[Engine | None, list[ConfigError]]:
    """The server as far as it can be put together, and what is wrong."""
    engine: Engine | None = None
    try:
        engine = Engine(raw)
        problems = list(_early(engine))
        engine.prepare_plugins()
        engine.swap()
        histories(engine.loader, engine.databases)
    except ConfigErrors as found:
        return None, [*(_early(engine) if engine is not None else ()), *found.errors]
    except ConfigError as error:
        return None, [*(_early(engine) if engine is not None else ()), error]
    except EngineError as error:
        if not error.field:
            raise
        return None, [_of_setting(error.field, error.message)]
    except RequiredPluginFailed as error:
        return None, [ConfigError(key="plugins.required", origin=None, message=str(error))]
    return engine, problems


def _early(engine: Engine) -> Iterator[ConfigError]:
    """What the engine says of its own settings, each beside the others."""
    for judge in (*engine.judges(), *(database.require_driver for database in engine.databases)):
        try:
            judge()
        except ConfigErrors as found:
            yield from found.errors
        except ConfigError as error:
            yield error
        except EngineError as error:
            yield _of_setting(error.field or "databases", error.message)


def _of_setting(key: str, message: str) -> ConfigError:
    """A mistake in a setting, whose message may begin with the setting's name already."""
    return ConfigError(key=key, origin=None, message=message.removeprefix(key).lstrip(": "))


def _placed(error: ConfigError, raw: RawConfig) -> ConfigError:
    """The mistake with the place where its key stands, which who found it may not know."""
    origin = raw.origin(error.key) if error.origin is None else None
    if origin is None:
        return error
    return ConfigError(key=error.key, origin=origin, message=error.message, nearest=error.nearest, path=error.path)


def _without(raw: RawConfig, errors: list[ConfigError]) -> RawConfig:
    """The configuration without what is wrong; of lists of plugins those names stay that are installed."""
    for key in PLUGIN_NAMES:
        if any(error.key == key for error in errors):
            raw = _installed_only(raw, key)
    paths = [_path(error) for error in errors if error.key not in PLUGIN_NAMES]
    # A key that is missing is not there to be left out: its table is.
    paths += [path[:-1] for path, error in zip(paths, errors, strict=False) if "is required" in error.message]
    return raw.without([path for path in paths if path and path != ("",)])


def _path(error: ConfigError) -> KeyPath:
    """Where what is wrong stands in the configuration; what an entry of the operator's catalogue has stands in that file."""
    return error.path or (("models", "catalogue") if error.key.startswith("models.") else split_key(error.key))


def _installed_only(raw: RawConfig, key: str) -> RawConfig:
    table, name = split_key(key)
    names = raw.layers.values.get(str(table), {}).get(name, [])
    enabled = raw.layers.values.get("plugins", {}).get("enabled", names)
    there = (
        [each for each in names if each in installed_plugins() and each in enabled] if isinstance(names, list) else []
    )
    return raw.with_value(key, there if key == "plugins.enabled" else [], raw.origin(key) or "betterai check")


def _secret(engine: Engine) -> Iterator[ConfigError]:
    """A secret that the first key would find to be too short; a file for it is not made here."""
    auth = engine.core.auth
    if auth.secret is not None or SECRET_FILE.exists():
        try:
            auth_secret(auth.secret, SECRET_FILE)
        except ConfigError as error:
            yield error


def _misnamed(engine: Engine, raw: RawConfig) -> Iterator[str]:
    """What in `[models]` names a model that would not answer."""
    for key, problem in engine.registry.misnamed():
        path = ("models", *key.split(".", 1))
        origin = raw.layers.origins.get(path)
        place = f" ({origin})" if origin else ""
        # No server runs that could say it: it stands in the lines above.
        yield f"{key_text(path)}{place}: {problem.replace(SAID_THERE, '')}"


def _lacking(engine: Engine, raw: RawConfig) -> list[str]:
    loader = engine.loader
    off = [
        f"plugin {part.name} is off: {part.reason}" for part in loader.parts.values() if part.enabled and not part.on
    ]
    faults = [str(error) for errors in loader.faults.values() for error in errors]
    folders = [problem for key, folder in _folders(engine) if (problem := _unusable(_with_place(key, raw), folder))]
    return [*off, *faults, *folders, *_unhealthy(engine, raw)]


def _with_place(key: str, raw: RawConfig) -> str:
    origin = raw.origin(key)
    return f"{key} ({origin})" if origin else key


def _unhealthy(engine: Engine, raw: RawConfig) -> Iterator[str]:
    """What the plugins' health checks say of settings that the operator wrote; of others only a running server knows."""
    written = {key_text(path) for path in raw.layers.origins if len(path) == 3}
    checks = engine.serving.gathered.checks if engine.serving.gathered is not None else ()
    for line in check_lines((), checks, {}):
        named = (key for key in written if re.search(rf"(?<![\w.]){re.escape(key)}: ", line.detail))
        if line.state == "degraded" and (key := next(named, None)) is not None:
            yield f"{_with_place(key, raw)}: {line.detail.partition(f'{key}: ')[2]}"


def _remarks(engine: Engine) -> list[str]:
    ignored = [
        f"environment variable {name} sets nothing; write {meant}" for name, meant in engine.ignored_variables().items()
    ]
    unmarked = [
        f"plugin {part.name} has the method {each} and no @hookimpl above it, so that nobody calls it"
        for part in engine.loader.parts.values()
        for each in part.unmarked
    ]
    inner = [
        f"plugin {name} imports {each}; only engine.api and engine.wire stay as they are from one version to the next"
        for name, imports in engine.loader.inner_imports().items()
        for each in imports
    ]
    return [*ignored, *unmarked, *inner]


def _folders(engine: Engine) -> Iterator[tuple[str, Path]]:
    """Folders that the server will write into, by the setting that names each."""
    for part in engine.loader.parts.values():
        for table, model in part.settings.items() if part.on else ():
            settings = engine.loader.tables.get(model)
            yield from _folders_of(table, settings) if settings is not None else ()
    for database in engine.databases:
        if database.file is not None:
            yield f"databases.{database.name}", database.file.parent


def _folders_of(table: str, settings: BaseModel) -> Iterator[tuple[str, Path]]:
    for name, value in settings:
        if name.endswith("folder") and isinstance(value, Path):
            yield f"{table}.{name}", value


def _unusable(key: str, folder: Path) -> str | None:
    """Why nothing can be written into a folder, which need not be there yet; nothing is left behind."""
    folder = folder.expanduser().absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        if not there.is_dir():
            raise NotADirectoryError(20, os.strerror(20))
        with tempfile.TemporaryDirectory(dir=there):
            return None
    except OSError as error:
        return f"{key}: the folder {folder} cannot be made or written: {error.strerror} ({there})"
