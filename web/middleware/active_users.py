"""How many users a web process has seen of late; it keeps no more of them than short hashes."""

from collections.abc import Callable
from itertools import takewhile
from time import monotonic

WINDOW_S = 300.0
MOST = 100_000
"""Users that are told apart; of more, only so many are counted."""


class ActiveUsers:
    """Counts the users who have asked within WINDOW_S."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, float] = {}
        """Hash of a user -> when they last asked, those who asked last at the end."""

    def note(self, user: str) -> None:
        """This user asks now."""
        key = hash(user)
        if self._seen.pop(key, None) is None and len(self._seen) >= MOST:
            self._forget_old()
        if len(self._seen) < MOST:
            self._seen[key] = self._clock()

    def count(self) -> int:
        """How many they are."""
        self._forget_old()
        return len(self._seen)

    def _forget_old(self) -> None:
        oldest_s = self._clock() - WINDOW_S
        # Those alone are gone through: a crowd of new visitors asks for this at every request.
        old = list(takewhile(lambda item: item[1] <= oldest_s, self._seen.items()))
        for key, _ in old:
            del self._seen[key]
