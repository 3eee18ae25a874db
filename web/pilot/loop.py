"""The pilot's loop: one web process at a time looks at every model, and lets others see it."""

import secrets
from collections import deque

import structlog

from storage import pilot
from storage.errors import StorageDown
from storage.jobs import load
from storage.jobs.load import Load
from storage.pilot import Scaling, View
from storage.redis.calls import AsyncRedis
from tasks.loops import AsyncPeriodic
from tasks.message import PROBE
from tasks.settings import settings
from web.jobs import admission
from web.jobs.catalogue import CachedCatalogue
from web.pilot import demand, signals
from web.pilot.signals import Signals

EVERY_S = 5.0
ALLOWED_S = 60.0

log = structlog.get_logger()


class Pilot:
    """What the loop remembers between its turns; another leader begins without it."""

    def __init__(self, state: AsyncRedis, catalogue: CachedCatalogue) -> None:
        self._state, self._catalogue = state, catalogue
        self._name = secrets.token_hex(8)
        self._history: deque[Load] = deque()

    def loop(self) -> AsyncPeriodic:
        """Takes a turn every EVERY_S seconds."""
        return AsyncPeriodic("pilot", self.turn, every_s=EVERY_S, max_age_s=ALLOWED_S)

    async def turn(self) -> None:
        """One look at all models. Nothing happens where Redis does not answer."""
        try:
            if await self._state.do(pilot.lead(self._name)):
                await self._look()
            else:
                self._history.clear()
        except StorageDown as error:
            self._history.clear()  # what happened meanwhile is not known
            log.warning("the pilot sees nothing", reason=str(error))

    async def _look(self) -> None:
        found = await self._signals()
        if found:
            await self._state.do(pilot.show({of.model: self._view(of) for of in found}))

    def _view(self, of: Signals) -> View:
        return View(
            at_ms=int(of.at_s * 1000),
            scaling=Scaling(of.wanted, of.wait_s),
            numbers={
                "p95_s": of.latest.p95_s,
                "samples": of.latest.samples,
                "runs": of.runs,
                "outstanding_s": round(of.work.outstanding_s, 3),
                "arriving": round(of.work.arriving, 3),
                "workers": of.workers,
            },
            rules={},
        )

    async def _signals(self) -> list[Signals]:
        """Of each model that some worker has announced."""
        catalogue = await self._catalogue.get()
        cards = {n: card for n, card in catalogue.models.items() if not n.startswith(PROBE)}
        variants = [name for card in cards.values() for name in admission.variants(card)]
        new = await self._state.do(load.read(variants, list(cards)))
        self._remember(new)
        recent = signals.reading_before(self._history, new.at_ms - signals.WINDOW_S * 1000)
        works = {name: signals.work(new, recent, card) for name, card in cards.items()}
        scaling = demand.scaling(catalogue, works, settings().pilot_target_wait_s)
        oldest = self._history[0]
        return [
            Signals(
                model=name,
                at_s=new.at_ms / 1000,
                latest=signals.latency(new, recent, name),
                lasting=signals.latency(new, oldest, name),
                covered_s=(new.at_ms - oldest.at_ms) / 1000,
                work=works[name],
                runs=sum(new.runs[of] for of in admission.variants(card)),
                workers=len(admission.serving(catalogue, name) - {-1}),
                wanted=scaling[name].workers_wanted,
                wait_s=scaling[name].wait_s,
                tallies=signals.tallies(new.totals[name]),
            )
            for name, card in cards.items()
        ]

    def _remember(self, new: Load) -> None:
        """The readings of as long as it takes to recover. A clock that was set back starts anew."""
        if self._history and new.at_ms < self._history[-1].at_ms:
            self._history.clear()
        self._history.append(new)
        while (
            new.at_ms - self._history[0].at_ms > settings().pilot_settle_s * 1000 + EVERY_S * 1000
        ):
            self._history.popleft()
