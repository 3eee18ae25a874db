"""Records as answers: the job object that programs see."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import Response

from storage.catalogue import Catalogue
from storage.jobs.snapshots import Snapshot
from storage.s3.objects import Objects
from storage.states import ENDED
from tasks.queues import gpu_queue
from tasks.results import MADE
from web.errors import json_response, retry_after
from web.jobs import admission


def job(
    view: Snapshot, objects: Objects, origin: str, card: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The job object; addresses are signed for `origin`."""
    fields, run, state = view.fields, view.run, view.state
    ended = state in ENDED
    result = orjson.loads(fields["result"]) if fields.get("result") else None
    error = orjson.loads(fields["error"]) if fields.get("error") else None
    position = view.ahead + 1 if not ended and view.ahead >= 0 else None
    return {
        "id": fields["id"],
        "state": state,
        "model": fields["model"],
        "params": orjson.Fragment(fields["params"]),  # JSON as it is
        "cached": fields["cached"] == "1",
        "degraded": bool(result and result.get("degraded")),
        "priority": fields["priority"],
        "progress": 1.0 if ended else float(run.get("progress") or 0),
        "stage": None if ended else run.get("stage") or None,
        "position": position,
        "eta_s": None if ended or card is None else admission.eta_s(view, card),
        "result": _result(result, objects, origin) if result else None,
        "timings_ms": _timings(fields),
        "weights": fields["weights"],
        "error": _error(error) if error else None,
    }


def job_response(body: dict[str, Any], view: Snapshot) -> Response:
    """200 ended well, 202 under way; a failed job answers with its error's status."""
    if view.state not in ENDED:
        return json_response(body, 202)
    if view.state != "failed":
        return json_response(body)
    status = int(orjson.loads(view.fields["error"])["status"])
    return json_response(body, status, retry_after(status))


def models(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Every known model, with whether it can be asked now."""
    cards: Iterable[Mapping[str, Any]] = catalogue.models.values()
    return [
        {
            **{name: card[name] for name in CARD_FIELDS},
            "live": catalogue.is_live(gpu_queue(card["name"])) and catalogue.is_live("cpu"),
            "profiles": {
                profile: {"ms_per_image": _ms(own), "weights_bytes": own["weights_bytes"]}
                for profile, own in card.get("profiles", {}).items()
            },
            "ms_per_image": _ms(card),
        }
        for card in cards
    ]


CARD_FIELDS = (
    "name",
    "title",
    "kind",
    "params",
    "licence",
    "intended_use",
    "fallback",
    "device",
    "weights",
    "weights_bytes",
)


def _ms(card: Mapping[str, Any]) -> float:
    """Of one image alone; a worker of before says so of a profile itself."""
    cost = card.get("cost_ms")
    return round(cost["a"] + cost["b"], 2) if cost else float(card["ms_per_image"])


def _result(result: dict[str, Any], objects: Objects, origin: str) -> dict[str, Any]:
    pictures = {
        name: {
            "url": objects.presign_get(picture["key"], origin, picture["type"]),
            **{fact: picture[fact] for fact in ("type", "width", "height", "bytes")},
        }
        for name, picture in result["objects"].items()
    }
    facts = {name: fact for name, fact in result.items() if name != MADE}
    return {**facts, "objects": pictures}


def _timings(fields: Mapping[str, str]) -> dict[str, float]:
    if not fields.get("timings"):
        return {}
    spent: dict[str, float] = orjson.loads(fields["timings"])
    return {stage: round(ms, 2) for stage, ms in spent.items()}


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {name: error[name] for name in ("code", "message", "hint")}
