"""A process that died on this machine is known to be dead at once; of any other nothing is claimed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.sessions.owners import is_alive, is_dead, owner_name, place

NAME = "from engine.sessions.owners import owner_name; print(owner_name(), flush=True)"


def name_of_a_dead_process() -> str:
    """What a process called itself that has ended."""
    return subprocess.run(
        [sys.executable, "-c", NAME], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_process_that_ended_is_dead_and_this_one_is_not() -> None:
    gone = name_of_a_dead_process()
    assert len(gone) <= 64
    assert is_dead(gone) and not is_alive(gone)
    assert not is_dead(owner_name()) and is_alive(owner_name())


def test_one_that_runs_is_not_dead() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        name = other.stdout.readline().strip()
        assert name and not is_dead(name) and is_alive(name)
        other.stdin.write("\n")
        other.stdin.close()


@pytest.mark.parametrize("name", ["", "host-1234-abcd1234", "this process", f"host-{'0' * 10}-99999999-abcdef01"])
def test_of_another_place_nothing_is_claimed(name: str) -> None:
    assert not is_dead(name) and not is_alive(name)


def test_a_process_whose_id_another_one_has_by_now_is_dead() -> None:
    host, place, pid, began, random = owner_name().rsplit("-", 4)
    former = "-".join((host, place, pid, str(int(began) - 1), random))
    assert is_dead(former) and not is_alive(former)


def test_without_the_time_of_its_start_a_process_is_not_known_to_live() -> None:
    host, place, pid, _, random = owner_name().rsplit("-", 4)
    named = "-".join((host, place, pid, random))
    assert not is_dead(named) and not is_alive(named)


def test_a_process_id_beyond_all_bounds_is_no_claim_either() -> None:
    assert not is_dead(f"host-{place()}-9999999999-abcdef01")
