"""What computes a submission: what is asked for, or something lighter while many people wait."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from storage.catalogue import Catalogue, ModelCard
from storage.jobs.spec import Spec
from storage.pilot import Order, in_words, why_lighter
from tasks.errors import BadInput
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import parameters
from web.jobs.submission import Submission, spec_of


@dataclass(frozen=True)
class Plan:
    """How a submission is computed."""

    submission: Submission
    """With the model and the parameters that compute it."""
    card: ModelCard
    spec: Spec
    asked: Spec
    """What was asked for: that of the model itself."""
    degraded: str = ""
    """Why something lighter computes it; empty where that is not so."""

    @property
    def asked_model(self) -> str:
        """The model that was asked for, where another computes it; else empty."""
        return self.asked.model if self.asked.model != self.spec.model else ""


def as_asked(submission: Submission, card: ModelCard, order: Order) -> Plan:
    """What is asked for; where it names no profile, with the one that a person has pinned."""
    pinned = order.pins.profile
    if pinned and "profile" not in submission.params and pinned in card.get("profiles", {}):
        submission = _with(submission, {"profile": pinned})
    spec = spec_of(submission, card)
    return Plan(submission, card, spec, spec)


def lighter(plan: Plan, catalogue: Catalogue) -> Plan | None:
    """The same with what the pilot has ordered while many people wait; None without that, or where
    the submission refuses it."""
    submission, order = plan.submission, catalogue.orders.of(plan.spec.model)
    is_on = settings().pilot == "on"  # what was ordered when it was on holds no longer
    if not is_on or order.pins.profile or not submission.may_be_lighter:
        return None
    if "profile" in submission.params:
        return None
    other = catalogue.models.get(order.model)
    params = _asked_of(other, plan) if other else {}
    if other and can_replace(plan.card, other, catalogue) and _takes(other, params):
        chosen = replace(submission, model=order.model, params=params)
        return _changed(plan, chosen, other, order.reason)
    if values := _lighter_values(plan, order):
        usual = {name: plan.spec.params[name] for name in values}
        why = why_lighter(in_words(values), in_words(usual))
        return _changed(plan, _with(submission, values), plan.card, why)
    return None


def can_replace(card: ModelCard, other: ModelCard, catalogue: Catalogue) -> bool:
    """Whether another model takes and answers the same kinds, and a worker serves it now."""
    return (
        other["name"] != card["name"]
        and other["kind"] == card["kind"]
        and other.get("input", "image") == card.get("input", "image")
        and catalogue.is_live(gpu_queue(other["name"]))
    )


def lighter_values(card: ModelCard) -> dict[str, tuple[Any, Any]]:
    """Parameter -> its default, and the value of it that takes less time: `x-lighter` of its
    field, where that is another one and one that the parameter may have."""
    fields = card["params"].get("properties", {})
    return {
        name: (field.get("default"), field["x-lighter"])
        for name, field in fields.items()
        if field.get("x-lighter", field.get("default")) != field.get("default")
        and _takes(card, {name: field["x-lighter"]})
    }


def default_profile(card: ModelCard) -> str:
    """The profile of runs that name none; empty without profiles."""
    return str(card["params"].get("properties", {}).get("profile", {}).get("default", ""))


def _changed(plan: Plan, submission: Submission, card: ModelCard, reason: str) -> Plan:
    return replace(
        plan, submission=submission, card=card, spec=spec_of(submission, card), degraded=reason
    )


def _lighter_values(plan: Plan, order: Order) -> dict[str, Any]:
    """What is ordered of the model's own parameters, where it changes what is asked for: without
    those that the submission names, and those that this version of the model does not have."""
    known = lighter_values(plan.card)
    found = {name: known[name][1] for name in order.params if name in known}
    if order.profile in plan.card.get("profiles", {}):
        found["profile"] = order.profile
    return {name: value for name, value in found.items() if name not in plan.submission.params}


def _with(submission: Submission, values: Mapping[str, Any]) -> Submission:
    return replace(submission, params={**submission.params, **values})


def _asked_of(other: ModelCard, plan: Plan) -> dict[str, object]:
    """The parameters that are asked of another model: without those that it does not have and that
    are only what the model asked for does anyway, as a form sends them."""
    own, theirs = (card["params"].get("properties", {}) for card in (plan.card, other))
    return {
        name: value
        for name, value in plan.submission.params.items()
        if name in theirs or plan.spec.params[name] != own[name].get("default")
    }


def _takes(card: ModelCard, params: Mapping[str, object]) -> bool:
    """Whether these parameters, given for another model, suit this one."""
    try:
        parameters.canonical(card["params"], params)
    except BadInput:
        return False
    return True
