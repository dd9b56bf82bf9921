"""Find the file, read it, lay the environment over it. The one place that reads configuration."""

from collections.abc import Mapping
from pathlib import Path

from engine.config.errors import ConfigError, ConfigErrors
from engine.config.layers import Layers, overlay_environment, read_file
from engine.config.raw import RawConfig
from engine.config.switches import lay_switches, switches_file

VARIABLE = "BETTERAI_CONFIG"
LOCAL = Path("config/betterai.toml")
PACKAGED = Path(__file__).parent / "data" / "betterai.toml"


def load(path: Path | None, environ: Mapping[str, str]) -> RawConfig:
    """The configuration in force: models' defaults < one file < kept switches < variables `BETTERAI__TABLE__KEY`.

    The file is `path`, else the one BETTERAI_CONFIG names, else ./config/betterai.toml, else the packaged one;
    the first two must exist. Raises ConfigErrors for a file that cannot be read or parsed, or a misspelt variable.
    """
    layers = Layers()
    try:
        file = find_file(path, environ)
        layers = read_file(file) if file else layers
        lay_switches(layers, switches_file(layers, environ))
    except ConfigError as error:
        raise ConfigErrors([error]) from None
    if problems := overlay_environment(layers, environ):
        raise ConfigErrors(problems)
    return RawConfig(file=file, layers=layers, environ=dict(environ), source=lambda: load(path, environ))


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that `load` reads, None if there is none; one that was asked for must exist."""
    named = path or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    if named is None:
        return next((file for file in (LOCAL, PACKAGED) if file.is_file()), None)
    if not named.is_file():
        asked_by = "--config" if path else f"environment variable {VARIABLE}"
        raise ConfigError(key="", origin=asked_by, message=f"there is no file {named}")
    return named
