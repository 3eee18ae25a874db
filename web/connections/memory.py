"""Memory for what is on its way: bodies that come in, and files that go out.

Clients hold shares of it (shares.py). What is slow may stay while there is room. Where there is
none for a client's one upload, the slow make way: so memory costs those who hold it traffic, and
however many addresses drip, who comes finds room.
"""

from collections.abc import Callable
from functools import cache
from math import inf
from time import monotonic

from starlette.types import Scope

from tasks.settings import MIB, settings
from web.connections.addresses import client_of, is_trusted
from web.connections.shares import Shares
from web.jobs import counters
from web.jobs.admission import Busy

MAKE_WAY = "pixelmill.make_way"
"""ASGI extension: ends the connection of a request, and says why where that can be heard."""
HURRY_BYTES_S = 65_536.0
"""Who moves fewer bytes a second than this is slow."""
GRACE_S = 5.0
"""So long anybody may stand still."""
SEARCH_S = 1.0
"""Where nobody slow was found, nobody is looked for again in so long."""


class Memory:
    """Who holds what of `total` bytes, and how fast they come or go."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.shares = Shares(total)
        self.holdings: dict[Holding, None] = {}
        self._search_at_s = 0.0

    def may_take(self, owner: str, amount: int) -> bool:
        """Whether there is room, or some could be made."""
        return self.shares.has_room(owner, amount) or self._next(owner, amount) is not None

    def take(self, owner: str, amount: int) -> bool:
        """Take it; first the slow make way if need be. False: there is no room."""
        while not self.shares.take(owner, amount):
            leaving = self._next(owner, amount)
            if leaving is None:
                return False
            leaving.make_way()
        return True

    def _next(self, owner: str, amount: int) -> "Holding | None":
        """Who makes way for this: of the slow, the one that holds most.

        Owed is room for the largest upload; to a trusted proxy, which is many, any.
        """
        owed = int(settings().max_upload_mib * MIB)
        now_s = monotonic()
        if now_s < self._search_at_s or not (
            is_trusted(owner) or self.shares.held(owner) + amount <= owed
        ):
            return None
        slow = [holding for holding in self.holdings if holding.is_slow(now_s)]
        if not slow:
            self._search_at_s = now_s + SEARCH_S
        return max(slow, key=lambda holding: holding.held, default=None)


@cache
def memory() -> Memory:
    """The process's."""
    return Memory(int(settings().bodies_mib * MIB))


class Holding:
    """What one request holds."""

    def __init__(self, scope: Scope) -> None:
        self.owner = client_of(scope)
        self.held = 0
        self._fast_until_s = inf
        """Until then it is not slow, whatever comes. Each byte that its client sends or reads moves
        this on, to GRACE_S from now at most."""
        self._memory = memory()
        extensions = scope.get("extensions") or {}
        self._make_way: Callable[[], None] | None = extensions.get(MAKE_WAY)
        self._is_over = False

    def check(self, amount: int) -> None:
        """Raises Busy if there is no room for so many bytes now."""
        if not self._memory.may_take(self.owner, amount):
            raise no_room()

    def take(self, amount: int) -> bool:
        """Hold so many bytes more, if there is room for them."""
        if self._is_over or not self._memory.take(self.owner, amount):
            return False
        self._memory.holdings[self] = None
        self.held += amount
        return True

    def wait(self) -> None:
        """Its client is waited for from now on, to send or to read."""
        self._fast_until_s = monotonic() + GRACE_S

    def settle(self) -> None:
        """Its client is not waited for: there is nothing more to send or to read."""
        self._fast_until_s = inf

    def moved(self, amount: int) -> None:
        """Its client has sent or read so many bytes."""
        if self._fast_until_s < inf:
            now_s = monotonic()
            earned_s = max(self._fast_until_s, now_s) + amount / HURRY_BYTES_S
            self._fast_until_s = min(earned_s, now_s + GRACE_S)

    def give(self, amount: int) -> None:
        """So many of them are gone."""
        amount = min(amount, self.held)
        self._memory.shares.give(self.owner, amount)
        self.held -= amount

    def release(self) -> None:
        """All of them are gone."""
        self._memory.holdings.pop(self, None)
        self.give(self.held)

    def is_slow(self, now_s: float) -> bool:
        """Whether it holds something because its client takes its time."""
        return self._make_way is not None and self.held > 0 and now_s > self._fast_until_s

    def make_way(self) -> None:
        """End the request and its connection."""
        self._is_over = True
        self.release()
        if self._make_way:
            self._make_way()


def no_room() -> Busy:
    """What is said to whom there is no room for; counts it."""
    counters.REFUSED.labels("", "bodies_mib").inc()
    limit = settings().bodies_mib
    return Busy(
        f"too many uploads at a time; the limit is {limit:g} MiB",
        limit="bodies_mib",
        value=limit,
        retry_after_s=2,
    )
