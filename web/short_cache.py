"""Answers of the state Redis that a web process may go on using for a few seconds."""

from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 10_000
"""Entries; a cache that is full is emptied."""


class ShortCache(Generic[T]):
    """Keeps each value for the seconds that it is given."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, T]] = {}

    def get(self, key: str) -> tuple[T] | None:
        """The value, in a tuple as it may be None itself; None if it is unknown or too old."""
        entry = self._entries.get(key)
        return (entry[1],) if entry and entry[0] > monotonic() else None

    def keep(self, key: str, value: T, seconds: float) -> T:
        """Keep the value for so long; returns it."""
        if len(self._entries) >= MOST:
            self._entries.clear()
        self._entries[key] = (monotonic() + seconds, value)
        return value

    def clear(self) -> None:
        """Ask again for everything."""
        self._entries.clear()

    def forget(self, key: str) -> None:
        """Ask again when it is wanted next."""
        self._entries.pop(key, None)
