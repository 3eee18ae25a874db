"""What live workers can do, as one web process knows it: read from Redis at most once a second."""

import asyncio
import hashlib
from collections.abc import Sequence
from time import monotonic

from storage import catalogue
from storage.catalogue import Catalogue, ModelCard
from storage.jobs import snapshots
from storage.jobs.snapshots import JobSnapshots
from storage.redis.calls import AsyncRedis
from tasks.errors import BadInput, Unavailable
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import admission
from web.text import shown

MAX_AGE_S = 1.0


class CachedCatalogue:
    """The catalogue, and what admission derives from it."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._read_s = float("-inf")
        self._catalogue: Catalogue | None = None
        self._reading: asyncio.Task[Catalogue] | None = None
        self.costs: admission.Costs = {}
        """What each variant's runs cost the others', as of the last `get`."""
        self.scratch = admission.NO_SCRATCH_LIMIT
        """Bytes in the fullest scratch store, and its limit, as of the last `get`."""
        self._costs_json = b"{}"
        self._names_seen: set[str] = set()

    async def get(self) -> Catalogue:
        """The catalogue, at most MAX_AGE_S old. Those who ask during a read share it."""
        if self._catalogue and monotonic() - self._read_s <= MAX_AGE_S:
            return self._catalogue
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._over)
        return await asyncio.shield(self._reading)  # who goes away takes it from nobody

    async def _read(self) -> Catalogue:
        # The age counts from the question: the answer may be that old already.
        read_s = monotonic()
        current = self._catalogue = await self._state.do(catalogue.read())
        self._read_s = read_s
        self.costs = admission.costs(current)
        self._costs_json = snapshots.costs_json(self.costs)
        self.scratch = admission.scratch(current)
        self._names_seen |= current.models.keys()
        return current

    def _over(self, reading: "asyncio.Task[Catalogue]") -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # else asyncio would log one that nobody waits for any more

    async def card(self, model: str, identity: str = "") -> ModelCard:
        """The card of a model that can be used now.

        `identity`: what is to be computed. The canary gets a part of them, and equal work always
        goes to the same version.
        Raises BadInput (404) for an unknown one, Unavailable if no worker has served it for long.
        """
        current = await self.get()
        card = current.models.get(model)
        if card is None:
            # A worker that served it before may not have announced it again yet.
            if not current.models or model in self._names_seen:
                raise _no_worker(model)
            names = ", ".join(current.models)
            raise BadInput(
                f"no model {shown(model)}; there are: {names}", code="no_model", status=404
            )
        if current.is_gone(gpu_queue(model)) or current.is_gone("cpu"):
            raise _no_worker(model)
        order = current.orders.of(model)
        trial = current.live.get(model, {}).get(order.canary)
        is_tried = trial and identity and not order.pins.version and _is_for_canary(identity)
        return trial if trial and is_tried else card

    async def read_jobs(self, job_ids: Sequence[str]) -> JobSnapshots:
        """These jobs as they are now, with the estimate of their wait."""
        await self.get()
        return await self._state.do(snapshots.read(job_ids, self._costs_json))


def _is_for_canary(identity: str) -> bool:
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4])
    return number / 2**32 < settings().pilot_canary_percent / 100


def _no_worker(model: str) -> Unavailable:
    return Unavailable(
        f"no worker serves {shown(model)} at present",
        code="no_worker",
        hint="Try again in a minute; `pixelmill doctor` shows which workers are alive.",
    )
