"""The pilot's loop: one web process at a time looks at every model, and acts by the policy.

It writes what it orders into the state Redis, where web processes and whoever starts workers find
it, and why into the log. Where Redis does not answer it sees nothing, and does nothing.
"""

import secrets
import time
from collections import deque

import structlog

from storage import pilot, pilot_log
from storage.catalogue import Catalogue, ModelCard
from storage.errors import StorageDown
from storage.jobs import load
from storage.jobs.load import Load
from storage.pilot import Orders, Scaling, View
from storage.pilot_log import Decision
from storage.redis.calls import AsyncRedis
from tasks.loops import AsyncPeriodic
from tasks.message import PROBE
from tasks.settings import settings
from web.jobs import admission, counters
from web.jobs.catalogue import CachedCatalogue
from web.jobs.lighter import can_replace, default_profile, lighter_values
from web.pilot import demand, policy, signals
from web.pilot.effects import Effects
from web.pilot.policy import Ruling
from web.pilot.signals import Signals
from web.pilot.verdict import Limits, Memory

EVERY_S = 5.0
ALLOWED_S = 60.0

log = structlog.get_logger()


class Pilot:
    """What the loop remembers between its turns; another leader begins without it."""

    def __init__(self, state: AsyncRedis, catalogue: CachedCatalogue) -> None:
        self._state, self._catalogue = state, catalogue
        self._name = secrets.token_hex(8)
        self._history: deque[Load] = deque()
        self._memories: dict[str, Memory] = {}
        self._present: dict[str, Signals] = {}
        self._effects = Effects(state)

    def loop(self) -> AsyncPeriodic:
        """Takes a turn every EVERY_S seconds."""
        return AsyncPeriodic("pilot", self.turn, every_s=EVERY_S, max_age_s=ALLOWED_S)

    async def turn(self) -> None:
        """One look at all models. Nothing happens where Redis does not answer."""
        try:
            if await self._state.do(pilot.lead(self._name)):
                await self._look()
            else:
                self._forget()
        except StorageDown as error:
            self._forget()  # what happens meanwhile is not known
            log.warning("the pilot sees nothing", reason=str(error))

    def _forget(self) -> None:
        self._history.clear()
        self._memories.clear()
        self._present.clear()

    async def _look(self) -> None:
        await self._effects.measure(self._present)
        catalogue = await self._catalogue.get()
        orders = await self._state.do(pilot.orders())  # those of the catalogue may be a second old
        for of in await self._signals(catalogue, orders):
            await self._decide(of, orders)
        before_s = time.time() - pilot_log.KEPT_DAYS * 86_400
        await self._state.do(pilot_log.trim(int(before_s * 1000)))

    async def _decide(self, of: Signals, orders: Orders) -> None:
        """Ask the policy about one model, do what it says, and let others see it."""
        before, is_off = orders.of(of.model), settings().pilot == "off"
        made = policy.rule(
            of,
            before,
            self._memories.get(of.model, Memory()),
            _limits(),
            is_paused=is_off or orders.paused_until_ms > of.at_s * 1000,
            is_dry=settings().pilot == "dry",
        )
        self._memories[of.model], self._present[of.model] = made.memory, of
        if made.order != before:
            await self._state.do(pilot.order(of.model, made.order))
        for decision in () if is_off else made.decisions:
            await self._log(decision)
        view = _view(of, made)
        await self._state.do(pilot.show({of.model: view}))

    async def _log(self, decision: Decision) -> None:
        decision_id = await self._state.do(pilot_log.record(decision))
        counters.PILOT.labels(decision.model, decision.rule, decision.outcome).inc()
        log.info(
            "pilot decided",
            model=decision.model,
            rule=decision.rule,
            action=decision.action,
            outcome=decision.outcome,
            reason=decision.reason,
        )
        if decision.outcome == "done":
            self._effects.expect(decision_id, self._present[decision.model])

    async def _signals(self, catalogue: Catalogue, orders: Orders) -> list[Signals]:
        """Of each model that some worker has announced."""
        cards = {n: card for n, card in catalogue.models.items() if not n.startswith(PROBE)}
        variants = [name for card in cards.values() for name in admission.variants(card)]
        new = await self._state.do(load.read(variants, list(cards)))
        self._remember(new)
        recent = signals.reading_before(self._history, new.at_ms - signals.WINDOW_S * 1000)
        works = {name: signals.work(new, self._history, card) for name, card in cards.items()}
        own = settings()
        scaling = demand.scaling(catalogue, works, own.pilot_target_wait_s, own.pilot_room)
        oldest = self._history[0]
        return [
            Signals(
                model=name,
                at_s=new.at_ms / 1000,
                latest=signals.latency(new, recent, *_computed_by(name, orders)),
                lasting=signals.latency(new, oldest, *_computed_by(name, orders)),
                covered_s=(new.at_ms - oldest.at_ms) / 1000,
                work=works[name],
                runs=sum(new.runs[of] for of in admission.variants(card)),
                workers=len(admission.serving(catalogue, name) - {-1}),
                least=scaling[name].least,
                wanted=scaling[name].wanted,
                wait_s=scaling[name].wait_s,
                tallies=signals.tallies(new.totals[name]),
                versions=tuple(catalogue.live.get(name, ())),
                profiles=list(card.get("profiles", {})),
                default_profile=default_profile(card),
                lighter=lighter_values(card),
                fallback=_fallback(card, catalogue),
            )
            for name, card in cards.items()
        ]

    def _remember(self, new: Load) -> None:
        """The readings of as long as it takes to recover. A clock that was set back starts anew."""
        if self._history and new.at_ms < self._history[-1].at_ms:
            self._history.clear()
        self._history.append(new)
        kept_s = settings().pilot_settle_s + EVERY_S
        while new.at_ms - self._history[0].at_ms > kept_s * 1000:
            self._history.popleft()


def _limits() -> Limits:
    own = settings()
    return Limits(
        own.pilot_target_s,
        own.pilot_settle_s,
        own.pilot_cooldown_s,
        own.pilot_canary_percent,
        own.worker_bounds or Limits.workers,
    )


def _view(of: Signals, made: Ruling) -> View:
    """What others see. While the pilot may not act, the number of workers is that of the work."""
    wanted = made.order.pins.workers or made.order.workers or of.wanted
    if settings().pilot != "on":
        wanted = of.wanted
    return View(
        at_ms=int(of.at_s * 1000),
        scaling=Scaling(wanted, of.wait_s),
        numbers=signals.numbers(of),
        rules=made.reasons,
    )


def _computed_by(model: str, orders: Orders) -> list[str]:
    """The models that compute what people ask of this one."""
    return [of for of in (model, orders.of(model).model) if of]


def _fallback(card: ModelCard, catalogue: Catalogue) -> str:
    """The lighter model that may take its work now."""
    other = catalogue.models.get(settings().fallback_models.get(card["name"], ""))
    return str(other["name"]) if other and can_replace(card, other, catalogue) else ""
