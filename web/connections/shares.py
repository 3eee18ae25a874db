"""A common stock of something, of which nobody takes more than is left for the others."""

import asyncio
from collections import deque

from web.connections.addresses import is_trusted

PARTS = 4
"""Of what is left an owner may hold a part like this, before what is taken next."""


class Shares:
    """Who holds how much of `total`.

    An owner may hold a quarter of what is free: alone a fifth of all, beside others less. So who
    comes new finds something, however greedy some are, and nothing need be configured (dynamic
    thresholds, as switches share their buffers: Choudhury and Hahne, 1998). A trusted proxy that
    does not say for whom it asks may hold as much as is free, alone the half: it is many.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: dict[str, int] = {}

    def has_room(self, owner: str, amount: int) -> bool:
        """Whether `take` would succeed."""
        parts = 1 if is_trusted(owner) else PARTS
        return self._held.get(owner, 0) * parts + amount <= self.free

    def held(self, owner: str) -> int:
        """What the owner holds."""
        return self._held.get(owner, 0)

    def take(self, owner: str, amount: int) -> bool:
        """Take it, unless there is no room."""
        if not self.has_room(owner, amount):
            return False
        self.free -= amount
        self._held[owner] = self._held.get(owner, 0) + amount
        return True

    def give(self, owner: str, amount: int) -> None:
        """Give back what was taken."""
        self.free += amount
        left = self._held.pop(owner, 0) - amount
        if left:
            self._held[owner] = left


class Slots:
    """Shares that are taken one at a time, and waited for."""

    def __init__(self, total: int) -> None:
        self._shares = Shares(total)
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def take(self, owner: str, limit_s: float) -> None:
        """Return when there is one; TimeoutError after `limit_s`."""
        if self._shares.take(owner, 1):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, turn))
        try:
            async with asyncio.timeout(limit_s):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # given at the very moment we gave up
                self.give(owner)
            else:
                self._waiting.remove((owner, turn))
            raise

    def give(self, owner: str) -> None:
        """Give one back, to the first who waits and has not its share already."""
        self._shares.give(owner, 1)
        for waiting in self._waiting:
            next_owner, turn = waiting
            if not turn.done() and self._shares.take(next_owner, 1):
                self._waiting.remove(waiting)
                turn.set_result(None)
                return
