"""Rules for a model that has much to do: lighter profiles, and more or fewer workers."""

from dataclasses import replace

from storage.pilot import Order
from web.pilot.signals import Signals
from web.pilot.verdict import MIN_SAMPLES, SLOW_S, Limits, Memory, Verdict, within


def degrade(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """A lighter profile while people wait too long."""
    rule, default = "degrade", now.default_profile
    values = {"p95_s": now.latest.p95_s, "wait_s": now.wait_s}
    thresholds = {"p95_s": limits.target_s, "for_s": SLOW_S, "samples": MIN_SAMPLES}
    if order.profile:
        return Verdict(rule, f"New runs have the profile {order.profile} already.")
    if memory.slow_since_s is None:
        return Verdict(rule, _fast_enough(now, limits))
    slow_s = now.at_s - memory.slow_since_s
    reason = (
        f"The 95th percentile, {_seconds(now.latest.p95_s)}, is above its target of "
        f"{limits.target_s:g} s for {slow_s:.0f} s."
    )
    if slow_s < SLOW_S:
        return Verdict(rule, reason)
    verdict = Verdict(
        rule,
        reason,
        None,
        "a lighter profile",
        values,
        thresholds,
        now.latest.samples,
        (f"{now.wanted} workers are wanted, {now.workers} are live.",),
        is_pinned=bool(order.pins.profile),
    )
    lighter = _lighter(now)
    if not lighter:
        default = default or "the only one"
        return replace(verdict, reason=f"{reason} There is no lighter profile than {default}.")
    told = f"Many people wait: {lighter} was used instead of {default}."
    ordered = replace(order, profile=lighter, reason=told)
    return replace(verdict, order=ordered, action=f"{lighter} instead of {default}")


def recover(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """The model's own profile again, once jobs have been quick for a long time."""
    rule, of = "recover", now.lasting
    if not order.profile:
        return Verdict(rule, "New runs have the model's own profile.")
    most_s, quiet_s = limits.target_s / 2, limits.settle_s
    measured = _seconds(of.p95_s) if of.samples else "no job"
    reason = (
        f"In the last {min(now.covered_s, quiet_s):.0f} s: {measured}; less than {most_s:g} s is "
        f"wanted for {quiet_s:.0f} s."
    )
    is_idle = of.samples == 0 and not now.runs
    is_quick = of.p95_s is not None and of.samples >= MIN_SAMPLES and of.p95_s < most_s
    since_s = now.at_s - memory.acted_s.get("degrade", float("-inf"))
    if now.covered_s < quiet_s or since_s < quiet_s or not (is_idle or is_quick):
        return Verdict(rule, reason)
    return Verdict(
        rule,
        reason,
        replace(order, profile="", reason=""),
        f"{now.default_profile} again",
        {"p95_s": of.p95_s},
        {"p95_s": most_s, "for_s": quiet_s},
        of.samples,
        is_pinned=bool(order.pins.profile),
    )


def scale(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """As many workers as the work needs: more at once, fewer after a long time of less work.

    Workers are taken away no earlier than keep_s after some were added, so that nothing goes up,
    down and up again within that time.
    """
    rule, present, needed = (
        "scale",
        order.workers or max(now.workers, 1),
        within(now.wanted, limits),
    )
    highest = max(wanted for _, wanted in memory.wanted)
    values = {
        "workers_wanted": now.wanted,
        "outstanding_s": now.work.outstanding_s,
        "arriving": now.work.arriving,
    }
    reason = (
        f"{now.work.outstanding_s:.1f} s of work are outstanding and {now.work.arriving:.2f} s "
        f"arrive in a second: {now.wanted} workers are needed."
    )
    if needed > present:
        order, action = replace(order, workers=needed), f"{present} -> {needed} workers"
    elif highest < present and order.workers:
        waited_s = now.at_s - max(memory.wanted[0][0], memory.raised_s)
        reason += f" At most {highest} were, for {waited_s:.0f} s."
        if waited_s < limits.keep_s:
            return Verdict(rule, reason)
        order, action = replace(order, workers=highest), f"{present} -> {highest} workers"
    elif not order.workers:  # nothing changes: from now on it is said
        order, action = replace(order, workers=present), ""
    else:
        return Verdict(rule, reason)
    thresholds = {"keep_s": limits.keep_s}
    pinned = bool(order.pins.workers)
    return Verdict(
        rule, reason, order, action, values, thresholds, now.latest.samples, is_pinned=pinned
    )


def _lighter(now: Signals) -> str:
    if now.default_profile not in now.profiles:
        return ""
    lighter = now.profiles[: now.profiles.index(now.default_profile)]
    return lighter[-1] if lighter else ""


def _fast_enough(now: Signals, limits: Limits) -> str:
    if now.latest.samples < MIN_SAMPLES:
        return f"{now.latest.samples} jobs of people ended lately; {MIN_SAMPLES} say something."
    return (
        f"The 95th percentile is {_seconds(now.latest.p95_s)}; the target is {limits.target_s:g} s."
    )


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"
