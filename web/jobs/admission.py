"""Who gets in and how long it takes: limits and estimates from measured costs and live workers."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from storage.catalogue import Catalogue
from storage.jobs.claims import Limits, Refusal, RunCost
from storage.jobs.snapshots import Snapshot
from tasks.errors import Unavailable
from tasks.message import Priority
from tasks.queues import gpu_queue
from tasks.settings import MIB, settings

STAGES = ("preprocess", "inference", "postprocess")

NO_SCRATCH_LIMIT = (0, 0)

Costs = Mapping[str, Mapping[str, RunCost]]
"""Variant -> other variant (or itself) -> what the other's runs cost those of the variant."""


class Busy(Unavailable):
    """A limit is reached; `limit` names its setting and `value` is what that is set to."""

    code = "busy"
    status = 429

    def __init__(self, message: str, *, limit: str, value: float, retry_after_s: int) -> None:
        super().__init__(message, hint=f"Try again in {retry_after_s} s.")
        self.limit, self.value, self.retry_after_s = limit, value, retry_after_s


def costs(now: Catalogue) -> Costs:
    """What each variant's runs cost the others': those of one device share it in turns.

    A device that two models are served by, of several for each, is shared by that much of their
    work: |both| / (|one| * |other|) of what a run costs where it runs alone.
    """
    serving = {name: _serving(now, name) for name in now.models}
    cards = {one: card for card in now.models.values() for one in _variants(card)}
    processes = _cpu_processes(now)
    found: dict[str, dict[str, RunCost]] = {}
    for name in cards:
        own, found[name] = serving[_model(name)], {}
        for other, card in cards.items():
            theirs = serving[_model(other)]
            share = len(own & theirs) / (len(own) * len(theirs))
            found[name][other] = _cost(_measured(card, other), card, share, processes)
    return found


def variant(card: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """As what a run with these parameters is reckoned: `matting`, or e.g. `matting:quality`."""
    name = f"{card['name']}:{params.get('profile')}"
    return name if name in _variants(card) else str(card["name"])


def limits(
    costs: Costs, variant: str, priority: Priority, scratch: tuple[int, int] = NO_SCRATCH_LIMIT
) -> Limits:
    """What a new run of this variant must stay within."""
    wait_s = (
        settings().max_wait_batch_s if priority == "batch" else settings().max_wait_interactive_s
    )
    own = costs.get(variant) or costs[_model(variant)]  # its last worker may just have left
    return Limits(
        in_flight=settings().max_in_flight,
        waiting=settings().max_waiting,
        wait_ms=wait_s * 1000,
        costs=own,
        scratch=scratch,
        joined=settings().max_joined,
    )


def scratch(now: Catalogue) -> tuple[int, int]:
    """Bytes of arrays between stages where there is least room left, and how many may be there."""
    said = [worker["scratch"] for worker in now.workers if worker.get("scratch", {}).get("most")]
    fullest = max(said, key=lambda one: float(one["used"] / one["most"]), default=None)
    return (fullest["used"], fullest["most"]) if fullest else NO_SCRATCH_LIMIT


def busy(refusal: Refusal, priority: Priority) -> Busy:
    """The answer to who was refused."""
    if refusal.limit == "in_flight":
        name, what = "max_in_flight", f"{refusal.value:.0f} of your runs are under way"
    elif refusal.limit == "waiting":
        name, what = "max_waiting", f"{refusal.value:.0f} runs wait already"
    elif refusal.limit == "joined":
        name, what = "max_joined", f"{refusal.value:.0f} equal requests wait for this result"
    elif refusal.limit == "scratch":
        name, what = "scratch_mib", _full_scratch(refusal)
    else:
        name, what = f"max_wait_{priority}_s", f"the wait would be {refusal.value / 1000:.1f} s"
    value = round(refusal.most / MIB, 1) or getattr(settings(), name)
    unit = " s" if name.endswith("_s") else " MiB" if name.endswith("_mib") else ""
    retry_after_s = max(1, ceil(refusal.room_in_ms / 1000))
    return Busy(
        f"{what}; the limit is {value:g}{unit}",
        limit=name,
        value=value,
        retry_after_s=retry_after_s,
    )


def _full_scratch(refusal: Refusal) -> str:
    said = f"{refusal.value / MIB:.0f} MiB of arrays are in memory"
    if (
        refusal.value == refusal.most
    ):  # as workers/scratch_cleanup.py says that nothing more is free
        return f"{said}, and other files fill the rest of the scratch folder"
    return said


def crowded(limit: str, most: int) -> Busy:
    """The answer while this web process deals with as many requests for work as it can."""
    return Busy(
        f"{most} requests for work are being dealt with already",
        limit=limit,
        value=most,
        retry_after_s=1,
    )


def eta_s(view: Snapshot, card: Mapping[str, Any]) -> float:
    """Estimated seconds until a job that is under way ends."""
    measured, mean_stage_ms = _measured(card, view.run.get("variant") or ""), card["mean_stage_ms"]
    cost = measured["cost_ms"]
    needs = {**mean_stage_ms, "inference": cost["a"] + cost["b"]}
    at, is_waiting = view.run.get("stage") or "", view.stage_ms < 0
    left = STAGES[STAGES.index(at) + is_waiting :] if at else STAGES
    rest_ms = sum(needs[stage] for stage in left)
    if not is_waiting and at != "inference":
        rest_ms -= min(view.stage_ms, needs[at])
    # The model is at its present batch for some time already; who is next waits for the rest.
    turn_ms = view.wait_ms + (needs["inference"] if at == "inference" and not is_waiting else 0)
    batch_ms = cost["a"] + cost["b"] * measured.get("max_batch", 1)
    left_ms: float = rest_ms + view.wait_ms - min(view.busy_ms, turn_ms, batch_ms)
    return round(left_ms / 1000, 2)


def _serving(now: Catalogue, model: str) -> set[int]:
    """The live workers that serve a model; while there is none, one that is to come."""
    found = {
        number for number, worker in enumerate(now.workers) if gpu_queue(model) in worker["queues"]
    }
    return found or {-1}


def _cpu_processes(now: Catalogue) -> int:
    counts = [worker.get("processes", 1) for worker in now.workers if "cpu" in worker["queues"]]
    return sum(counts) or 1


def _variants(card: Mapping[str, Any]) -> list[str]:
    """The model itself, which is its first profile, and its other profiles."""
    others = list(card.get("profiles", {}))[1:]
    return [card["name"], *(f"{card['name']}:{profile}" for profile in others)]


def _model(variant: str) -> str:
    return variant.partition(":")[0]


def _measured(card: Mapping[str, Any], variant: str) -> Mapping[str, Any]:
    """`cost_ms` and `max_batch` of a variant: its profile's, or the card's for the first one."""
    own: Mapping[str, Any] = card.get("profiles", {}).get(variant.partition(":")[2], card)
    return own if "cost_ms" in own else card  # a worker of before measured profiles as one


def _cost(
    measured: Mapping[str, Any], card: Mapping[str, Any], share: float, processes: int
) -> RunCost:
    cost = measured["cost_ms"]
    return RunCost(
        a_ms=round(cost["a"] * share, 3),
        b_ms=round(cost["b"] * share, 3),
        max_batch=measured.get("max_batch", 1),
        cpu_ms=round(sum(card["mean_stage_ms"].values()) / processes, 3),
    )
