"""`${env:NAME}` and `${file:path}` inside a value: secrets that stand outside the configuration."""

import re
from collections.abc import Mapping
from pathlib import Path

_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")
_OPENING = re.compile(r"\$\{(?:env|file):[^}]*$")
_LARGEST = 64 * 1024
_UNREADABLE = "the file that it names cannot be used"


class UnresolvedReference(Exception):
    """Raised when what a reference names is not there; says what is missing, never what was read.

    `public` says the same without the path of a file, where there is one in the message.
    """

    def __init__(self, message: str, public: str | None = None) -> None:
        super().__init__(message)
        self.public = public


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Put in place of each reference what it names; the outcome is not searched again.

    Relative paths start at the working directory. Line breaks at the end of a file are not part of it.
    """
    if _OPENING.search(text):
        raise UnresolvedReference("a reference is not closed; write ${env:NAME} or ${file:path}")
    return _REFERENCE.sub(lambda found: _read(found[1], found[2].strip(), environ), text)


def referenced_variables(text: str) -> list[str]:
    """The environment variables that the references of a text name."""
    return [found[2].strip() for found in _REFERENCE.finditer(text) if found[1] == "env"]


def _read(kind: str, name: str, environ: Mapping[str, str]) -> str:
    if not name:
        raise UnresolvedReference(f"${{{kind}:}} names nothing; write ${{env:NAME}} or ${{file:path}}")
    return environ_value(name, environ) if kind == "env" else file_value(Path(name))


def environ_value(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        raise UnresolvedReference(f"environment variable {name} is not set or empty")
    return value


def file_value(path: Path) -> str:
    try:
        # Bounded, so that a device or a wrong path cannot fill the memory.
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise UnresolvedReference(f"cannot read file {path}: {reason}", _UNREADABLE) from None
    if len(content) > _LARGEST:
        raise UnresolvedReference(f"file {path} is larger than {_LARGEST} bytes", _UNREADABLE)
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnresolvedReference(f"file {path} is not UTF-8 text", _UNREADABLE) from None
    if not value:
        raise UnresolvedReference(f"file {path} is empty", _UNREADABLE)
    return value
