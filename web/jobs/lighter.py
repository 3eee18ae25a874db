"""What computes a submission: what is asked for, or something lighter while many people wait."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storage.catalogue import Catalogue, ModelCard
from storage.jobs.spec import Spec
from storage.pilot import Order, why_lighter
from tasks.errors import BadInput
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import parameters
from web.jobs.submission import Submission, spec_of


@dataclass(frozen=True)
class Plan:
    """How a submission is computed."""

    submission: Submission
    """With the model and the profile that compute it."""
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
    if pinned and _may_change(submission, card, pinned):
        submission = _with(submission, pinned)
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
    if order.profile and _may_change(submission, plan.card, order.profile):
        chosen = _with(submission, order.profile)
        return _changed(plan, chosen, plan.card, reason_of_profile(plan.card, order))
    return None


def can_replace(card: ModelCard, other: ModelCard, catalogue: Catalogue) -> bool:
    """Whether another model takes and answers the same kinds, and a worker serves it now."""
    return (
        other["name"] != card["name"]
        and other["kind"] == card["kind"]
        and other.get("input", "image") == card.get("input", "image")
        and catalogue.is_live(gpu_queue(other["name"]))
    )


def reason_of_profile(card: ModelCard, order: Order) -> str:
    """Why a profile is lighter; the order's own reason is that of its model, if it names one."""
    if not order.model:
        return order.reason
    return why_lighter(order.profile, default_profile(card))


def default_profile(card: ModelCard) -> str:
    """The profile of runs that name none; empty without profiles."""
    return str(card["params"].get("properties", {}).get("profile", {}).get("default", ""))


def _changed(plan: Plan, submission: Submission, card: ModelCard, reason: str) -> Plan:
    return replace(
        plan, submission=submission, card=card, spec=spec_of(submission, card), degraded=reason
    )


def _may_change(submission: Submission, card: ModelCard, profile: str) -> bool:
    return "profile" not in submission.params and profile in card.get("profiles", {})


def _with(submission: Submission, profile: str) -> Submission:
    return replace(submission, params={**submission.params, "profile": profile})


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
