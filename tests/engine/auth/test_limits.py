"""What one principal and one key may hold open, and how they are told that this is enough."""

from __future__ import annotations

import pytest

from engine.api.errors import LimitExceeded
from engine.api.identity import KeyLimits, Principal
from engine.auth.limits import SocketCount

ALICE, BOB = Principal("alice"), Principal("bob")


def test_a_principal_holds_so_many_sockets_and_no_more() -> None:
    sockets = SocketCount(2)
    sockets.admit(ALICE)
    sockets.admit(ALICE)
    with pytest.raises(LimitExceeded, match="principal:alice holds at most 2 sockets"):
        sockets.admit(ALICE)
    assert sockets.held(ALICE) == 2


def test_the_sockets_of_one_principal_do_not_count_for_another() -> None:
    sockets = SocketCount(1)
    sockets.admit(ALICE)
    sockets.admit(BOB)


def test_keys_of_one_principal_share_its_sockets() -> None:
    sockets = SocketCount(1)
    sockets.admit(Principal("alice", key="one"))
    with pytest.raises(LimitExceeded):
        sockets.admit(Principal("alice", key="two"))


def test_a_key_may_have_a_bound_of_its_own() -> None:
    sockets = SocketCount(None)
    narrow = Principal("alice", key="one", limits=KeyLimits(sockets=1))
    leave = sockets.admit(narrow)
    with pytest.raises(LimitExceeded, match="key:one holds at most 1"):
        sockets.admit(narrow)
    sockets.admit(Principal("alice", key="two"))
    leave()
    sockets.admit(narrow)


def test_what_a_key_is_refused_does_not_count_for_its_principal() -> None:
    sockets = SocketCount(2)
    narrow = Principal("alice", key="one", limits=KeyLimits(sockets=1))
    sockets.admit(narrow)
    for _ in range(3):
        with pytest.raises(LimitExceeded):
            sockets.admit(narrow)
    assert sockets.held(ALICE) == 1


def test_a_closed_socket_makes_room_for_one_other() -> None:
    sockets = SocketCount(2)
    leave = sockets.admit(ALICE)
    sockets.admit(ALICE)
    leave()
    leave()
    assert sockets.held(ALICE) == 1
    sockets.admit(ALICE)
    with pytest.raises(LimitExceeded):
        sockets.admit(ALICE)


def test_without_a_bound_sockets_are_not_counted() -> None:
    sockets = SocketCount(None)
    leaving = [sockets.admit(ALICE) for _ in range(100)]
    assert sockets.held(ALICE) == 0
    for leave in leaving:
        leave()
