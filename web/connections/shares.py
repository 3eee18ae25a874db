"""Fair division of a limited resource: no client may take more than is left for the others."""

import asyncio
from collections import deque

from web.addresses import is_trusted

PARTS = 4
"""A client may hold at most one part in this many of what is free before it acquires more."""


class FairShares:
    """Counts who holds how many units of a resource of `total` units.

    A client may hold a quarter of what is free: a fifth of everything if it is alone, less if there
    are others. A client that comes new therefore always finds something, however greedy the others
    are, and nothing needs to be configured. (Network switches share their buffers in this way; see
    the dynamic thresholds of Choudhury and Hahne, 1998.) A trusted proxy that does not say for
    which client it asks may hold as much as is free, half of everything if it is alone, since it
    stands for many clients.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: dict[str, int] = {}

    def can_acquire(self, client: str, amount: int) -> bool:
        """Whether `acquire` would succeed."""
        parts = 1 if is_trusted(client) else PARTS
        return self._held.get(client, 0) * parts + amount <= self.free

    def held(self, client: str) -> int:
        """How many units the client holds."""
        return self._held.get(client, 0)

    def acquire(self, client: str, amount: int) -> bool:
        """Take that many units; returns False, and takes nothing, if the client may not."""
        if not self.can_acquire(client, amount):
            return False
        self.free -= amount
        self._held[client] = self._held.get(client, 0) + amount
        return True

    def release(self, client: str, amount: int) -> None:
        """Return units that were acquired."""
        self.free += amount
        left = self._held.pop(client, 0) - amount
        if left:
            self._held[client] = left


class FairSemaphore:
    """A semaphore whose slots are divided by `FairShares`; clients wait in the order they came."""

    def __init__(self, total: int) -> None:
        self._shares = FairShares(total)
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def acquire(self, client: str, timeout_s: float) -> None:
        """Return once the client has a slot. Raises TimeoutError after `timeout_s`."""
        if self._shares.acquire(client, 1):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((client, granted))
        try:
            async with asyncio.timeout(timeout_s):
                await granted
        except BaseException:
            if granted.done() and not granted.cancelled():  # at the very moment of the timeout
                self.release(client)
            else:
                self._waiting.remove((client, granted))
            raise

    def release(self, client: str) -> None:
        """Return a slot; it goes to the first waiting client whose share allows another one."""
        self._shares.release(client, 1)
        for entry in self._waiting:
            next_client, granted = entry
            if not granted.done() and self._shares.acquire(next_client, 1):
                self._waiting.remove(entry)
                granted.set_result(None)
                return
