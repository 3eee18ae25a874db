"""The memory budget of a web process for bodies in transit: uploads coming in, files going out.

Each request reserves memory as its bytes arrive, and the budget is divided fairly between clients
(shares.py). A slow client may keep its reservation while there is memory for others. When there is
not enough left for another client's single upload, slow requests are evicted: holding memory costs
an attacker traffic, and many addresses that send a byte now and then cannot exhaust the budget.
"""

from collections.abc import Callable
from functools import cache
from math import inf
from time import monotonic

from starlette.types import Scope

from tasks.settings import MIB, settings
from web.addresses import client_of, is_trusted
from web.connections.shares import FairShares
from web.jobs import counters
from web.jobs.admission import Busy

EVICT = "pixelmill.evict"
"""ASGI extension: a function that ends the request and its connection, if possible with 408."""
SLOW_BYTES_S = 65_536.0
"""A client that moves fewer bytes a second than this is slow."""
GRACE_S = 5.0
"""A client may stand still for this long before it counts as slow."""
SEARCH_PAUSE_S = 1.0
"""If no slow request was found, none is searched for again for this long."""


class MemoryBudget:
    """Who has reserved how many of `total` bytes, and how fast their bytes move."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.shares = FairShares(total)
        self.reservations: dict[Reservation, None] = {}
        self._next_search_s = 0.0

    def can_reserve(self, client: str, amount: int) -> bool:
        """Whether so many bytes are free for the client, or could be freed by an eviction."""
        return self.shares.can_acquire(client, amount) or self._victim(client, amount) is not None

    def reserve(self, client: str, amount: int) -> bool:
        """Reserve so many bytes, evicting slow requests if need be; False if that is impossible."""
        while not self.shares.acquire(client, amount):
            victim = self._victim(client, amount)
            if victim is None:
                return False
            victim.evict()
        return True

    def _victim(self, client: str, amount: int) -> "Reservation | None":
        """The largest slow reservation, if this client's request justifies an eviction.

        It does as long as the client holds no more than one upload of the largest size. A trusted
        proxy stands for many clients, so its requests always justify one.
        """
        largest_upload = int(settings().max_upload_mib * MIB)
        now_s = monotonic()
        if now_s < self._next_search_s or not (
            is_trusted(client) or self.shares.held(client) + amount <= largest_upload
        ):
            return None
        slow = [reservation for reservation in self.reservations if reservation.is_slow(now_s)]
        if not slow:
            self._next_search_s = now_s + SEARCH_PAUSE_S
        return max(slow, key=lambda reservation: reservation.held, default=None)


@cache
def memory_budget() -> MemoryBudget:
    """The budget of this process."""
    return MemoryBudget(int(settings().bodies_mib * MIB))


class Reservation:
    """The memory that one request has reserved."""

    def __init__(self, scope: Scope) -> None:
        self.client = client_of(scope)
        self.held = 0
        self._slow_after_s = inf
        """From this time on the request is slow. Each byte that its client sends or reads moves
        this further into the future, up to GRACE_S from now."""
        self._budget = memory_budget()
        extensions = scope.get("extensions") or {}
        self._end_connection: Callable[[], None] | None = extensions.get(EVICT)
        self._is_evicted = False

    def check(self, amount: int) -> None:
        """Raises Busy if so many bytes cannot be reserved now."""
        if not self._budget.can_reserve(self.client, amount):
            raise out_of_memory()

    def grow(self, amount: int) -> bool:
        """Reserve so many bytes more; False if there is no memory for them."""
        if self._is_evicted or not self._budget.reserve(self.client, amount):
            return False
        self._budget.reservations[self] = None
        self.held += amount
        return True

    def start_waiting(self) -> None:
        """From now on the server waits for the client to send or to read."""
        self._slow_after_s = monotonic() + GRACE_S

    def stop_waiting(self) -> None:
        """The client has nothing left to send or to read; it cannot be slow any more."""
        self._slow_after_s = inf

    def progressed(self, amount: int) -> None:
        """The client has sent or read so many bytes."""
        if self._slow_after_s < inf:
            now_s = monotonic()
            earned_s = max(self._slow_after_s, now_s) + amount / SLOW_BYTES_S
            self._slow_after_s = min(earned_s, now_s + GRACE_S)

    def shrink(self, amount: int) -> None:
        """So many of the reserved bytes have left the process."""
        amount = min(amount, self.held)
        self._budget.shares.release(self.client, amount)
        self.held -= amount

    def release(self) -> None:
        """Give everything back."""
        self._budget.reservations.pop(self, None)
        self.shrink(self.held)

    def is_slow(self, now_s: float) -> bool:
        """Whether it could be evicted: it holds memory only because its client is slow."""
        return self._end_connection is not None and self.held > 0 and now_s > self._slow_after_s

    def evict(self) -> None:
        """End the request and its connection, and give its memory back."""
        self._is_evicted = True
        self.release()
        if self._end_connection:
            self._end_connection()


def out_of_memory() -> Busy:
    """The error for a request whose body has no room in the budget; counts the refusal."""
    counters.REFUSED.labels("", "bodies_mib").inc()
    limit = settings().bodies_mib
    return Busy(
        f"too many uploads at a time; the limit is {limit:g} MiB",
        limit="bodies_mib",
        value=limit,
        retry_after_s=2,
    )
