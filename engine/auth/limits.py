"""The sockets that one principal and one key may hold open; each bound is off where it is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from engine.api.errors import LimitExceeded
from engine.api.identity import Principal


class SocketCount:
    """The sockets that each principal and each key holds open in this process."""

    def __init__(self, bound: int | None) -> None:
        self.bound = bound
        self._held: Counter[str] = Counter()

    def admit(self, principal: Principal) -> Callable[[], None]:
        """Count one more socket; the caller calls what it gets when that socket is closed. Raises LimitExceeded."""
        bounds = {principal.subject: self.bound, principal.key_subject: principal.limits.sockets}
        counted = [subject for subject, bound in bounds.items() if subject is not None and bound is not None]
        for subject in counted:
            bound = bounds[subject]
            if bound is not None and self._held[subject] >= bound:
                raise LimitExceeded(
                    f"{subject} holds at most {bound} sockets open; close one first", limit=bound, remaining=0
                )
        self._held.update(counted)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._held.subtract(counted)
                for subject in counted:
                    if not self._held[subject]:
                        del self._held[subject]

        return leave

    def held(self, principal: Principal) -> int:
        """Sockets that the principal holds now; 0 where they are not counted."""
        return self._held[principal.subject]
