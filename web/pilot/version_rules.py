"""Rules for the versions of a model: on trial first, and back to the one before if it fails."""

from dataclasses import replace

from storage.pilot import Order
from web.pilot.signals import Signals, Tally
from web.pilot.verdict import MIN_RUNS, MOST_FAILURES, Limits, Memory, Verdict


def roll_back(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """Back to the version that served well, where the wanted one or its canary fails too often."""
    rule, on_trial = "roll back", order.canary or order.version
    if not on_trial:
        return Verdict(rule, "No version is known.")
    of = judged(now, memory, on_trial)
    reason = f"{of.failed} of {of.ended} runs of version {on_trial} failed by our fault."
    if of.ended < MIN_RUNS:
        return Verdict(rule, f"{reason} Fewer than {MIN_RUNS} runs say nothing.")
    if of.share <= MOST_FAILURES:
        return Verdict(rule, reason)
    back = order.version if order.canary else order.served_well
    refused = tuple(dict.fromkeys((*order.refused, on_trial)))
    values = {"failures": round(of.share, 4)}
    thresholds = {"failures": MOST_FAILURES, "runs": float(MIN_RUNS)}
    is_possible = back in now.versions and back not in order.refused
    if not is_possible:
        reason += " No version that served well is live."
    return Verdict(
        rule,
        reason,
        replace(order, version=back, canary="", served_well="", refused=refused)
        if is_possible
        else None,
        f"version {back or 'before'} instead of {on_trial}",
        values,
        thresholds,
        of.ended,
        is_pinned=bool(order.pins.version),
    )


def try_version(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """A new version gets a part of the runs first, and all of them once it has served well."""
    rule = "canary"
    if order.canary:
        return _promote(now, order, memory)
    if order.version not in now.versions:
        wanted = next((of for of in reversed(now.versions) if of not in order.refused), "")
        if not wanted or wanted == order.version:
            return Verdict(rule, "No other version is live.")
        gone = f"No worker serves version {order.version} any more." if order.version else ""
        order = replace(order, version=wanted, served_well="")
        action = f"version {wanted}" if gone else ""
        return Verdict(rule, gone or f"Version {wanted} is the only one.", order, action)
    newer = now.versions[now.versions.index(order.version) + 1 :]
    fresh = next((of for of in reversed(newer) if of not in order.refused), "")
    if not fresh:
        return Verdict(rule, "No newer version is live.")
    share = limits.canary_percent
    reason = f"Version {fresh} is live beside {order.version}."
    if not share:
        order = replace(order, version=fresh, served_well=order.version)
        return Verdict(rule, reason, order, f"version {fresh}", is_pinned=bool(order.pins.version))
    return Verdict(
        rule,
        reason,
        replace(order, canary=fresh),
        f"version {fresh} gets {share:g} % of new runs",
        thresholds={"percent": share, "runs": float(MIN_RUNS)},
        is_pinned=bool(order.pins.version),
    )


def judged(now: Signals, memory: Memory, version: str) -> Tally:
    """The runs that a version is judged by."""
    return now.tallies.get(version, Tally()).since(memory.counted.get(version, Tally()))


def _promote(now: Signals, order: Order, memory: Memory) -> Verdict:
    """What becomes of a version on trial that does not fail."""
    rule, of = "canary", judged(now, memory, order.canary)
    if order.canary not in now.versions:
        ended = replace(order, canary="")
        return Verdict(rule, "No worker serves it any more.", ended, f"no trial of {order.canary}")
    reason = f"{of.failed} of {of.ended} runs of version {order.canary} failed by our fault."
    if of.ended < MIN_RUNS or of.share > MOST_FAILURES:
        return Verdict(rule, reason)
    wanted = replace(order, version=order.canary, served_well=order.version, canary="")
    return Verdict(
        rule,
        reason,
        wanted,
        f"version {order.canary} gets all runs",
        {"failures": round(of.share, 4)},
        {"failures": MOST_FAILURES, "runs": float(MIN_RUNS)},
        of.ended,
        is_pinned=bool(order.pins.version),
    )
