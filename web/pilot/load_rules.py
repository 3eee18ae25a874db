"""Rules for a model that has much to do: what is lighter, and more or fewer workers."""

from dataclasses import dataclass, replace
from typing import Any

from storage.pilot import Order, in_words, why_lighter
from web.pilot.signals import WINDOW_S, Signals
from web.pilot.verdict import MIN_SAMPLES, SLOW_S, Limits, Memory, Verdict, since, within

MUCH = 0.3
"""The part of the workers that is far too many: they are taken away sooner."""


def degrade(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """What is lighter, step by step, while people wait too long: values of parameters, then a
    profile, then another model."""
    rule = "degrade"
    values = {"p95_s": now.latest.p95_s, "wait_s": now.wait_s}
    thresholds = {"p95_s": limits.target_s, "for_s": SLOW_S, "samples": MIN_SAMPLES}
    if memory.slow_since_s is None:
        return Verdict(rule, _fast_enough(now, limits))
    # What was done last is seen in the latencies only after their window.
    acted_s = memory.acted_s.get(rule, float("-inf")) + WINDOW_S
    slow_s = max(0.0, now.at_s - max(memory.slow_since_s, acted_s))
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
        "something lighter",
        values,
        thresholds,
        now.latest.samples,
        (f"{now.wanted} workers are wanted, {now.workers} are live.",),
        is_pinned=bool(order.pins.profile),
    )
    found = _lighter(now, order)
    if not found:
        return replace(verdict, reason=f"{reason} {_lightest(now, order)}")
    (of, instead_of), lighter = found
    ordered = replace(lighter, reason=why_lighter(of, instead_of))
    return replace(verdict, order=ordered, action=f"{of} instead of {instead_of}")


def recover(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """What was made lighter last is as it was again, once jobs have been quick for a long time.

    Their latencies are those of people who asked for the model, whatever computed their runs.
    """
    rule, of = "recover", now.lasting
    if not order.is_lighter:
        return Verdict(rule, "New runs have the model's own defaults.")
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
    own, action = _back(now, order)
    return Verdict(
        rule,
        reason,
        own,
        action,
        {"p95_s": of.p95_s},
        {"p95_s": most_s, "for_s": quiet_s},
        of.samples,
        is_pinned=bool(order.pins.profile),
    )


def scale(now: Signals, order: Order, memory: Memory, limits: Limits) -> Verdict:
    """As many workers as the work needs: more at once, fewer after a long time of less work, and
    after half of that time where they are far too many, as after a burst.

    Between the least and what has all the room for chance nothing changes. Workers are taken away
    no earlier than settle_s after some were added, so that nothing goes up, down and up again
    within that time; and none while new runs are lighter: once they are not, they need more.
    """
    rule, present = "scale", order.workers or max(now.workers, 1)
    least, needed = within(now.least, limits), within(now.wanted, limits)
    enough = _enough(now, memory, limits, present)
    values = {
        "workers_wanted": now.wanted,
        "workers_least": now.least,
        "outstanding_s": now.work.outstanding_s,
        "arriving": now.work.arriving,
    }
    reason = (
        f"{now.work.outstanding_s:.1f} s of work are outstanding and {now.work.arriving:.2f} s "
        f"arrive in a second. Workers with room for that: {now.wanted}; at the least: {now.least}."
    )
    if least > present:
        order, action = replace(order, workers=needed), f"{present} -> {needed} workers"
    elif enough.workers < present and order.workers:
        reason += f" At most {enough.workers} were, for {enough.for_s:.0f} s."
        if order.is_lighter:
            reason += " None goes while new runs are lighter than usual."
        if order.is_lighter or not enough.is_sure:
            return Verdict(rule, reason)
        order = replace(order, workers=enough.workers)
        action = f"{present} -> {enough.workers} workers"
    elif not order.workers:  # nothing changes: from now on it is said
        order, action = replace(order, workers=present), ""
    else:
        return Verdict(rule, reason)
    thresholds = {"keep_s": limits.keep_s, "settle_s": limits.settle_s}
    pinned = bool(order.pins.workers)
    return Verdict(
        rule, reason, order, action, values, thresholds, now.latest.samples, is_pinned=pinned
    )


@dataclass(frozen=True)
class _Enough:
    """The most workers that were wanted in some time without any being added."""

    workers: int
    for_s: float
    is_sure: bool


def _enough(now: Signals, memory: Memory, limits: Limits, present: int) -> _Enough:
    """What can be gone down to: what was enough for keep_s, or for settle_s where that saves
    much. Else what may be enough, which is not sure yet."""

    def of_last(seconds: float, saved: float) -> _Enough:
        entries = since(memory.wanted, now.at_s - seconds)
        most = max(workers for _, workers in entries)
        for_s = now.at_s - max(entries[0][0], memory.raised_s)
        return _Enough(most, for_s, for_s >= seconds and most <= present - saved)

    room = within(now.wanted, limits) - within(now.least, limits)
    lasting = of_last(limits.keep_s, max(1, room))
    lately = of_last(limits.settle_s, max(2, MUCH * present))
    return lately if lately.is_sure and not lasting.is_sure else lasting


def _lighter(now: Signals, order: Order) -> tuple[tuple[str, str], Order] | None:
    """What there is that is lighter, and than what, and the order for it."""
    default = now.default_profile
    if order.model:
        return None
    if now.lighter and not (order.params or order.profile):
        usual, values = _values(now)
        step = in_words(values), in_words(usual)
        return step, replace(order, params=values)
    if not order.profile and default in now.profiles:
        lighter = now.profiles[: now.profiles.index(default)]
        if lighter:
            return (lighter[-1], default), replace(order, profile=lighter[-1])
    if now.fallback:
        return (now.fallback, now.model), replace(order, model=now.fallback)
    return None


def _lightest(now: Signals, order: Order) -> str:
    """Why there is nothing lighter."""
    if order.model:
        return f"New runs are computed by {order.model} already."
    least = order.profile or now.default_profile or "the only one"
    return f"There is no lighter profile than {least}, and no lighter model."


def _back(now: Signals, order: Order) -> tuple[Order, str]:
    """The step back: what was done last is undone first."""
    usual, _ = _values(now)
    of_params = why_lighter(in_words(order.params), in_words(usual)) if order.params else ""
    of_profile = why_lighter(order.profile, now.default_profile) if order.profile else of_params
    if order.model:
        return replace(order, model="", reason=of_profile), f"{now.model} again"
    if order.profile:
        return replace(order, profile="", reason=of_params), f"{now.default_profile} again"
    return replace(order, params={}, reason=""), f"{in_words(usual) or 'its own values'} again"


def _values(now: Signals) -> tuple[dict[str, Any], dict[str, Any]]:
    """The defaults of the parameters that have a lighter value, and those values."""
    usual = {name: default for name, (default, _) in now.lighter.items()}
    return usual, {name: value for name, (_, value) in now.lighter.items()}


def _fast_enough(now: Signals, limits: Limits) -> str:
    if now.latest.samples < MIN_SAMPLES:
        return f"{now.latest.samples} jobs of people ended lately; {MIN_SAMPLES} say something."
    return (
        f"The 95th percentile is {_seconds(now.latest.p95_s)}; the target is {limits.target_s:g} s."
    )


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"
