"""The secret that API keys are hashed with, and others are derived from: configured, or made once and kept in a file."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from engine.config.errors import ConfigError
from engine.log import get_logger

log = get_logger(__name__)

SHORTEST = 16
_LARGEST = 4096
_REMEDY = "or set auth.secret"


def auth_secret(configured: SecretStr | None, path: Path) -> bytes:
    """The configured secret, else the one in the file at `path`, which is made where there is none.

    Only the user of this process may read a file that is made here; processes that start at once agree on one secret.
    Raises ConfigError for a secret that is too short and for a file that cannot be used.
    """
    if configured is not None:
        return _long_enough(configured.get_secret_value(), "the secret")
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise _problem(
            f"cannot use the file {path}: {why}; name a folder that this user may write, {_REMEDY}"
        ) from None


def derived(secret: bytes, purpose: str) -> bytes:
    """A secret of its own for one purpose: it tells nothing of `secret`, nor of those for other purposes."""
    # No API key begins like this, so none has a digest that is one of these.
    return hmac.digest(secret, f"betterai derived secret: {purpose}".encode(), "sha256")


def _make(path: Path) -> None:
    """Put a whole file in place, unless another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(f"{secrets.token_hex(32)}\n")
            opened.flush()
            os.fsync(opened.fileno())
        # Unlike a rename, a link never takes the place of a file that is there.
        os.link(draft, path)
    except FileExistsError:
        pass
    else:
        log.info("auth_secret_made", path=str(path))
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST)
        if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
            log.warning("auth_secret_readable_by_others", path=str(path), remedy="its mode is 600 from now on")
            with suppress(PermissionError):
                os.fchmod(file.fileno(), 0o600)
    where = f"the secret in {path}"
    return _long_enough(content.decode().strip(), where, "restore the file, or remove it, which voids all API keys")


def _long_enough(secret: str, where: str, remedy: str = "`openssl rand -hex 32` makes a good one") -> bytes:
    if len(secret) < SHORTEST:
        raise _problem(f"{where} is too short: it needs at least {SHORTEST} characters; {remedy}")
    return secret.encode()


def _problem(message: str) -> ConfigError:
    return ConfigError(key="auth.secret", origin=None, message=message)
