"""Asks every rule, and lets pauses, pins, cooldowns and dry runs decide what is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from storage.pilot import Order
from storage.pilot_log import Decision
from web.pilot.load_rules import degrade, recover, scale
from web.pilot.signals import Signals
from web.pilot.verdict import Limits, Memory, Verdict, remembered
from web.pilot.version_rules import roll_back, try_version

RULES = (roll_back, try_version, scale, degrade, recover)
"""In this order: what is wrong goes first, and more workers come before lighter profiles."""

TOGETHER = {"recover": "degrade"}
"""Rules that share a cooldown with another: what one does the other undoes."""


@dataclass(frozen=True)
class Ruling:
    """What came of one look at one model."""

    order: Order
    memory: Memory
    decisions: Sequence[Decision]
    """What was done, and what was refused for the first time."""
    reasons: Mapping[str, str]
    """Rule -> why it acts, or does not."""


def rule(
    now: Signals,
    order: Order,
    memory: Memory,
    limits: Limits,
    *,
    is_paused: bool = False,
    is_dry: bool = False,
) -> Ruling:
    """Ask every rule, and do what may be done."""
    memory = remembered(memory, now, limits)
    decisions, reasons = [], {}
    for ask in RULES:
        verdict = ask(now, order, memory, limits)
        outcome = _outcome(verdict, memory, now, limits, is_paused=is_paused, is_dry=is_dry)
        reasons[verdict.rule] = _said(verdict, outcome)
        if outcome == "done" and verdict.order:
            memory = _acted(memory, verdict, order, now)
            order = verdict.order
        if verdict.action and _is_new(memory, verdict, outcome):
            decisions.append(_decision(now, verdict, outcome))
        memory = replace(memory, refused={**memory.refused, verdict.rule: _key(verdict, outcome)})
    return Ruling(order, memory, decisions, reasons)


def _outcome(
    verdict: Verdict,
    memory: Memory,
    now: Signals,
    limits: Limits,
    *,
    is_paused: bool,
    is_dry: bool,
) -> str:
    """`done`, why not, or nothing where the rule does not act."""
    if not verdict.action:
        return "done" if verdict.order and not (is_paused or is_dry) else ""
    if verdict.order is None:
        return "impossible"
    if verdict.is_pinned:
        return "pinned"
    if is_paused:
        return "paused"
    shared = TOGETHER.get(verdict.rule, verdict.rule)
    if now.at_s - memory.acted_s.get(shared, float("-inf")) < limits.cooldown_s:
        return "cooldown"
    return "dry run" if is_dry else "done"


def _acted(memory: Memory, verdict: Verdict, before: Order, now: Signals) -> Memory:
    if not verdict.action:
        return memory
    shared = TOGETHER.get(verdict.rule, verdict.rule)
    is_raise = verdict.order is not None and verdict.order.workers > (before.workers or now.workers)
    return replace(
        memory,
        acted_s={**memory.acted_s, shared: now.at_s},
        raised_s=now.at_s if is_raise and verdict.rule == "scale" else memory.raised_s,
    )


def _is_new(memory: Memory, verdict: Verdict, outcome: str) -> bool:
    """Whether this is to be logged: a refusal that goes on is said once."""
    return outcome == "done" or memory.refused.get(verdict.rule) != _key(verdict, outcome)


def _key(verdict: Verdict, outcome: str) -> str:
    """What a refusal is known by. The number of workers changes at every look."""
    if not verdict.action or outcome == "done":
        return ""
    return outcome if verdict.rule == "scale" else f"{outcome}: {verdict.action}"


def _said(verdict: Verdict, outcome: str) -> str:
    if not verdict.action:
        return verdict.reason
    return f"{verdict.reason} {verdict.action[0].upper()}{verdict.action[1:]}: {outcome}."


def _decision(now: Signals, verdict: Verdict, outcome: str) -> Decision:
    return Decision(
        now.model,
        verdict.rule,
        verdict.action,
        outcome,
        verdict.reason,
        verdict.values,
        verdict.thresholds,
        verdict.samples,
        verdict.alternatives,
    )
