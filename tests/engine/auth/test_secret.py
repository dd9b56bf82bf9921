"""The secret that keys are hashed with is made once, kept private, and never shown."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from engine.auth.secret import auth_secret, derived
from engine.config.errors import ConfigError


def test_a_configured_secret_is_taken_and_no_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "auth-secret"
    assert auth_secret(SecretStr("sixteen-letters!"), path) == b"sixteen-letters!"
    assert not path.exists()


@pytest.mark.parametrize("secret", ["", "fifteen-letters"])
def test_a_short_secret_stops_the_start_and_is_not_repeated(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigError, match="at least 16 characters") as refused:
        auth_secret(SecretStr(secret), tmp_path / "auth-secret")
    assert refused.value.key == "auth.secret"
    assert not secret or secret not in str(refused.value)


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "var" / "auth-secret"
    made = auth_secret(None, path)
    assert len(made) >= 64
    assert auth_secret(None, path) == made
    assert auth_secret(None, tmp_path / "other") != made


def test_the_file_belongs_to_its_user_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    auth_secret(None, tmp_path / "auth-secret")
    assert stat.S_IMODE((tmp_path / "auth-secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["auth-secret"]


def test_a_copy_of_the_file_may_be_configured(tmp_path: Path) -> None:
    path = tmp_path / "auth-secret"
    made = auth_secret(None, path)
    assert auth_secret(SecretStr(path.read_text().strip()), path) == made


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    starts = 8
    barrier = threading.Barrier(starts)

    def start(_: int) -> bytes:
        barrier.wait()
        return auth_secret(None, tmp_path / "auth-secret")

    with ThreadPoolExecutor(starts) as threads:
        assert len(set(threads.map(start, range(starts)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["auth-secret"]


@pytest.mark.parametrize("content", [b"", b"short\n", b"\n" * 40])
def test_a_damaged_file_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "auth-secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="restore the file, or remove it, which voids all API keys"):
        auth_secret(None, path)
    assert path.read_bytes() == content


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "auth-secret"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        auth_secret(None, path)


@pytest.mark.parametrize("place", ["", "file/auth-secret"])
def test_a_place_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(ConfigError, match=r"or set auth\.secret") as refused:
        auth_secret(None, path)
    assert str(path) in str(refused.value)


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "auth-secret"
    made = auth_secret(None, path)
    path.chmod(0o644)
    with structlog.testing.capture_logs() as logs:
        assert auth_secret(None, path) == made
    assert [entry["event"] for entry in logs] == ["auth_secret_readable_by_others"]
    assert made.decode() not in repr(logs)


def test_each_purpose_has_a_secret_of_its_own_that_stays_the_same() -> None:
    one, other = derived(b"sixteen-letters!", "storage:links"), derived(b"sixteen-letters!", "storage:seals")
    assert one == derived(b"sixteen-letters!", "storage:links") and len(one) == len(other) == 32
    assert len({one, other, derived(b"another-secret-!", "storage:links")}) == 3
