"""A model process for tests: it says again what it is told, and has the faults that it is ordered to have."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from plugins.vendors.model_child import CannotLoad, Replies, run
from plugins.vendors.model_frames import DATA, END, LEFT, OPEN


class Parrot:
    """Answers data with data; `die` as data ends the process."""

    def __init__(self, name: str, replies: Replies) -> None:
        self.description = {"name": name}
        self._replies = replies
        self._left = 0

    def take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == OPEN:
            times = json.loads(payload).get("times", 0)
            for _ in range(times):
                self._replies.send(number, DATA, b"more")
        elif kind == LEFT:
            self._left += 1
        elif kind == END:
            self._replies.tell(number, {"left": self._left})
            self._replies.end(number)
        elif kind == DATA and payload == b"die":
            os._exit(3)
        elif kind == DATA and payload == b"fail":
            self._replies.fail(number, "it did not want to")
        elif kind == DATA:
            self._replies.send(number, DATA, payload)


def load(order: dict[str, Any], replies: Replies) -> Parrot:
    """As ordered."""
    if reason := order.get("refuse"):
        raise CannotLoad(reason)
    if order.get("die"):
        os._exit(4)
    sys.stdout.write("native code prints where it likes\n")
    return Parrot(order["name"], replies)


if __name__ == "__main__":
    sys.exit(run(load))
