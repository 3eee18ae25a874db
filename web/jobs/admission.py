"""Which new work is accepted, and how long it takes: from measured costs and live workers."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from storage.catalogue import Catalogue, ModelCard, ProfileCard
from storage.jobs.claims import Flow, Limits, Refusal, RunCost
from storage.jobs.snapshots import Snapshot
from storage.quota_kinds import NAMES as QUOTAS
from storage.states import STAGES, Priority
from tasks.errors import Unavailable
from tasks.queues import gpu_queue
from tasks.settings import MIB, settings

NO_SCRATCH_LIMIT = (0, 0)

Costs = Mapping[str, Mapping[str, RunCost]]
"""Variant -> other variant (or itself) -> what the other's runs cost those of the variant."""


class Busy(Unavailable):
    """A limit is reached: `limit` names it and `value` is what it is set to."""

    code = "busy"
    status = 429

    def __init__(self, message: str, *, limit: str, value: float, retry_after_s: int) -> None:
        super().__init__(message, hint=f"Try again in {retry_after_s} s.")
        self.limit, self.value, self.retry_after_s = limit, value, retry_after_s


def costs(catalogue: Catalogue) -> Costs:
    """What the runs of each variant cost those of the others.

    Models that share devices delay each other. If S(m) are the live workers that serve model m, a
    run of model b costs one of model a this part of what it costs alone:
    |S(a) & S(b)| / (|S(a)| * |S(b)|).
    """
    of_models = {name: serving(catalogue, name) for name in catalogue.models}
    cards = {name: card for card in catalogue.models.values() for name in variants(card)}
    processes = cpu_processes(catalogue)
    matrix: dict[str, dict[str, RunCost]] = {}
    for name in cards:
        own, matrix[name] = of_models[_model(name)], {}
        for other, card in cards.items():
            theirs = of_models[_model(other)]
            share = len(own & theirs) / (len(own) * len(theirs))
            matrix[name][other] = _cost(measured(card, other), card, share, processes)
    return matrix


def variant(card: ModelCard, params: Mapping[str, Any]) -> str:
    """What a run with these parameters counts as: `matting`, or for example `matting:quality`."""
    name = f"{card['name']}:{params.get('profile')}"
    return name if name in variants(card) else card["name"]


def limits(
    costs: Costs,
    variant: str,
    priority: Priority,
    scratch: tuple[int, int] = NO_SCRATCH_LIMIT,
    scratch_needed: int = 0,
) -> Limits:
    """What a new run of this variant must stay within. `scratch_needed`: bytes of its arrays, if
    they are many."""
    own_limits = settings().limits_of(_model(variant))
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
        scratch_needed=scratch_needed,
        joined=settings().max_joined,
        of_model=own_limits.at_a_time if own_limits.when_full == "refuse" else 0,
    )


def flow(costs: Costs, variant: str, name: str, weight: float) -> Flow:
    """What a run of this variant costs a flow of this weight."""
    own = costs.get(variant, {})
    first, cost = own.get(_model(variant)), own.get(variant)
    times = _run_ms(cost) / _run_ms(first) if first and cost else 1.0
    # Rounded, as measured costs change a little all the time: equal runs must cost the same.
    return Flow(name, max(round(times * 4), 1) / 4 / weight)


def _run_ms(cost: RunCost) -> float:
    return cost.b_ms + cost.a_ms / cost.max_batch or 1.0


def scratch(catalogue: Catalogue) -> tuple[int, int]:
    """Bytes of arrays in the fullest scratch store, and how many it may hold."""
    reported = (worker.get("scratch") for worker in catalogue.workers)
    limited = [usage for usage in reported if usage and usage["most"]]
    fullest = max(limited, key=lambda usage: float(usage["used"] / usage["most"]), default=None)
    return (fullest["used"], fullest["most"]) if fullest else NO_SCRATCH_LIMIT


def busy(refusal: Refusal, priority: Priority) -> Busy:
    """The error for a claim that was refused."""
    if refusal.limit in QUOTAS:
        return _over_quota(refusal)
    if refusal.limit == "in_flight":
        name, what = "max_in_flight", f"{refusal.value:.0f} of your runs are under way"
    elif refusal.limit == "waiting":
        name, what = "max_waiting", f"{refusal.value:.0f} runs wait already"
    elif refusal.limit == "joined":
        name, what = "max_joined", f"{refusal.value:.0f} equal requests wait for this result"
    elif refusal.limit == "of_model":
        name, what = "at_a_time", f"{refusal.value:.0f} runs of this model are in progress"
    elif refusal.limit == "scratch":
        name, what = "scratch_mib", _full_scratch(refusal)
    else:
        name, what = f"max_wait_{priority}_s", f"the wait would be {refusal.value / 1000:.1f} s"
    value = _value(refusal, name)
    unit = " s" if name.endswith("_s") else " MiB" if name.endswith("_mib") else ""
    retry_after_s = max(1, ceil(refusal.room_in_ms / 1000))
    return Busy(
        f"{what}; the limit is {value:g}{unit}",
        limit=name,
        value=value,
        retry_after_s=retry_after_s,
    )


def _value(refusal: Refusal, name: str) -> float:
    if name == "at_a_time":
        return refusal.most
    if name == "max_in_flight":
        return refusal.most or settings().max_in_flight  # it may be the user's own
    return round(refusal.most / MIB, 1) or float(getattr(settings(), name))


def _over_quota(refusal: Refusal) -> Busy:
    """Names the quota as /me does, in images or bytes."""
    name = refusal.limit
    what, _, window = name.partition("_per_")
    used, most = (
        (f"{refusal.value:.0f} images", f"{refusal.most:.0f}")
        if what == "images"
        else (f"{refusal.value / MIB:.1f} MiB", f"{refusal.most / MIB:g} MiB")
    )
    of_window = f"were used of this {window}'s quota" if window else "are stored for you"
    return Busy(
        f"{used} {of_window}; the limit is {most}",
        limit=name,
        value=refusal.most,
        retry_after_s=max(1, ceil(refusal.room_in_ms / 1000)),
    )


def _full_scratch(refusal: Refusal) -> str:
    what = f"{refusal.value / MIB:.0f} MiB of memory for arrays are in use or needed"
    # Equal: this is how workers/scratch_cleanup.py reports that the file system is full.
    if refusal.value == refusal.most:
        return f"{what}, and other files fill the rest of the scratch folder"
    return what


def crowded(limit: str, most: int) -> Busy:
    """The error while this web process has as many requests for work in progress as it can."""
    return Busy(
        f"{most} requests for work are in progress already",
        limit=limit,
        value=most,
        retry_after_s=1,
    )


def eta_s(snapshot: Snapshot, card: ModelCard) -> float:
    """Estimated seconds until a job that is under way ends."""
    profile = measured(card, snapshot.run.get("variant") or "")
    cost = profile["cost_ms"]
    stage_ms = {**card["mean_stage_ms"], "inference": cost["a"] + cost["b"]}
    stage, is_waiting = snapshot.run.get("stage") or "", snapshot.stage_ms < 0
    left = STAGES[STAGES.index(stage) + is_waiting :] if stage else STAGES
    rest_ms = sum(stage_ms[name] for name in left)
    if not is_waiting and stage != "inference":
        rest_ms -= min(snapshot.stage_ms, stage_ms[stage])
    # The model has been busy with its present batch for some time: only the rest of it is waited
    # for.
    is_inferring = stage == "inference" and not is_waiting
    turn_ms = snapshot.wait_ms + (stage_ms["inference"] if is_inferring else 0)
    batch_ms = cost["a"] + cost["b"] * profile.get("max_batch", 1)
    left_ms: float = rest_ms + snapshot.wait_ms - min(snapshot.busy_ms, turn_ms, batch_ms)
    return round(left_ms / 1000, 2)


def serving(catalogue: Catalogue, model: str) -> set[int]:
    """The live workers that serve a model; if there is none, one that is yet to come."""
    queue = gpu_queue(model)
    numbered = enumerate(catalogue.workers)
    return {number for number, worker in numbered if queue in worker["queues"]} or {-1}


def cpu_processes(catalogue: Catalogue) -> int:
    """How many runs all live cpu workers work on at a time; at least 1."""
    cpu_workers = (worker for worker in catalogue.workers if "cpu" in worker["queues"])
    return sum(worker.get("processes", 1) for worker in cpu_workers) or 1


def variants(card: ModelCard) -> list[str]:
    """The model itself, which stands for its first profile, and its other profiles."""
    others = list(card.get("profiles", {}))[1:]
    return [card["name"], *(f"{card['name']}:{profile}" for profile in others)]


def _model(variant: str) -> str:
    return variant.partition(":")[0]


def measured(card: ModelCard, variant: str) -> ModelCard | ProfileCard:
    """Where `cost_ms` and `max_batch` of a variant are: its profile, or the card for the first."""
    return card.get("profiles", {}).get(variant.partition(":")[2], card)


def _cost(
    profile: ModelCard | ProfileCard, card: ModelCard, share: float, processes: int
) -> RunCost:
    cost = profile["cost_ms"]
    return RunCost(
        a_ms=round(cost["a"] * share, 3),
        b_ms=round(cost["b"] * share, 3),
        max_batch=profile.get("max_batch", 1),
        cpu_ms=round(sum(card["mean_stage_ms"].values()) / processes, 3),
    )
