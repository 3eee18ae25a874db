"""The job object and the list of models, as programs see them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NotRequired, TypedDict, cast

import orjson
from fastapi import Request
from starlette.responses import Response

from storage.catalogue import BatchCost, Catalogue, ModelCard
from storage.jobs.result import StoredObject, StoredResult
from storage.jobs.snapshots import Snapshot
from storage.states import ENDED, TIMED_STAGES
from storage.times import rfc3339
from tasks.errors import JobError
from tasks.imaging.notes import LIGHTER_MODEL, LIGHTER_SETTINGS, Note, described
from tasks.message import ErrorRecord
from tasks.queues import gpu_queue
from web import rate_limit
from web.errors import json_response, retry_after
from web.jobs import admission
from web.jobs.results import Results
from web.jobs.retention import result_life_s
from web.jobs.service import service_of
from web.middleware.hosts import origin_of
from web.middleware.load_shedding import JOBS


class ObjectBody(TypedDict):
    """One image of a result: schemas.Object."""

    url: str
    type: str
    width: int
    height: int
    bytes: int


class ResultBody(TypedDict):
    """schemas.Result."""

    kind: str
    width: int
    height: int
    orientation: int
    browsers_agree: bool
    notes: list[Note]
    objects: Mapping[str, ObjectBody]
    thumbnail: ObjectBody | None
    data: Mapping[str, Any]
    degraded: NotRequired[bool]


class JobErrorBody(TypedDict):
    """schemas.Error of a job."""

    code: str
    message: str
    hint: str | None


class SlicesBody(TypedDict):
    """schemas.Slices."""

    done: int
    total: int


class JobBody(TypedDict):
    """schemas.Job."""

    id: str
    name: str | None
    created: str
    expires: str | None
    state: str
    model: str
    params: orjson.Fragment
    upload: str | None
    cached: bool
    degraded: bool
    degraded_reason: str | None
    asked_model: str | None
    priority: str
    progress: float
    stage: str | None
    slices: "SlicesBody | None"
    position: int | None
    eta_s: float | None
    result: ResultBody | None
    timings_ms: Mapping[str, float]
    weights: str
    error: JobErrorBody | None


class ProfileBody(TypedDict):
    """One profile of model_schemas.ModelCard."""

    ms_per_image: float
    weights_bytes: int
    licence: str


class ModelBody(TypedDict):
    """model_schemas.ModelCard."""

    name: str
    title: str
    kind: str
    input: str
    live: bool
    params: Mapping[str, Any]
    licence: str
    intended_use: str
    fallback: str | None
    profiles: Mapping[str, ProfileBody]
    device: str
    ms_per_image: float
    weights: str
    weights_bytes: int
    texts: NotRequired[Mapping[str, str]]


async def answer(request: Request, snapshot: Snapshot, wait_s: float) -> Response:
    """The job's answer, once it has ended or `wait_s` have passed."""
    limits = rate_limit.headers(snapshot.allowances)
    snapshot = await service_of(request).watcher.wait(snapshot, wait_s)
    return job_response(await body(request, snapshot), snapshot, limits)


async def body(request: Request, snapshot: Snapshot) -> JobBody:
    """The job object for this request's client."""
    if snapshot.state in ENDED:
        return job(snapshot, service_of(request).results, origin_of(request), None)
    card = (await cards(request)).get(snapshot.fields["model"])
    return job(snapshot, service_of(request).results, origin_of(request), card)


async def cards(request: Request) -> Mapping[str, ModelCard]:
    """The models' cards; none if they cannot be read, as they serve estimates alone."""
    with suppress(JobError):
        return (await service_of(request).catalogue.get()).models
    return {}


def job(snapshot: Snapshot, results: Results, origin: str, card: ModelCard | None) -> JobBody:
    """The job object. Addresses of its objects are signed for `origin`."""
    fields, run, state = snapshot.fields, snapshot.run, snapshot.state
    ended = state in ENDED
    result: StoredResult | None = orjson.loads(fields["result"]) if fields.get("result") else None
    error: ErrorRecord | None = orjson.loads(fields["error"]) if fields.get("error") else None
    return {
        "id": fields["id"],
        "name": fields.get("name") or None,
        "created": rfc3339(float(fields["created"])),
        "expires": rfc3339(_expires_ms(fields, result), "seconds") if ended else None,
        "state": state,
        "model": fields["model"],
        "params": orjson.Fragment(fields["params"]),  # JSON already
        "upload": fields.get("upload") or None,
        "cached": fields["cached"] == "1",
        "degraded": bool(fields.get("degraded") or (result and result.get("degraded"))),
        "degraded_reason": _why_degraded(fields, result),
        "asked_model": fields.get("asked_model"),
        "priority": fields["priority"],
        "progress": 1.0 if ended else float(run.get("progress") or 0),
        "stage": None if ended else run.get("stage") or None,
        "slices": None if ended else _slices(run.get("slices")),
        "position": snapshot.ahead + 1 if not ended and snapshot.ahead >= 0 else None,
        "eta_s": None if ended or card is None else admission.eta_s(snapshot, card),
        "result": _result(result, results, origin, fields) if result else None,
        "timings_ms": _timings(fields),
        "weights": fields["weights"],
        "error": _error(error) if error else None,
    }


def job_response(body: JobBody, snapshot: Snapshot, headers: Mapping[str, str]) -> Response:
    """202 while it is under way, the error's status if it has failed, else 200."""
    if snapshot.state not in ENDED:
        return json_response(body, 202, {**headers, "location": f"{JOBS}/{body['id']}"})
    if snapshot.state != "failed":
        return json_response(body, 200, headers)
    error: ErrorRecord = orjson.loads(snapshot.fields["error"])
    status = int(error["status"])
    return json_response(body, status, {**headers, **(retry_after(status) or {})})


def models(catalogue: Catalogue, language: str = "") -> list[ModelBody]:
    """Every model that was served not long ago, and whether live workers serve it. With a language,
    its texts in that."""
    bodies: list[ModelBody] = []
    for card in catalogue.models.values():
        if not catalogue.is_forgotten(gpu_queue(card["name"])):
            body = _model(card, catalogue)
            if language:
                body["texts"] = card.get("texts", {}).get(language, {})
            bodies.append(body)
    return bodies


def _model(card: ModelCard, catalogue: Catalogue) -> ModelBody:
    profiles = card.get("profiles", {}).items()
    return {
        "name": card["name"],
        "title": card["title"],
        "kind": card["kind"],
        "input": card.get("input", "image"),
        "params": card["params"],
        "licence": card["licence"],
        "intended_use": card["intended_use"],
        "fallback": card["fallback"],
        "device": card["device"],
        "weights": card["weights"],
        "weights_bytes": card["weights_bytes"],
        "live": catalogue.is_live(gpu_queue(card["name"])) and catalogue.is_live("cpu"),
        "profiles": {
            name: {
                "ms_per_image": _ms_per_image(profile["cost_ms"]),
                "weights_bytes": profile["weights_bytes"],
                "licence": profile.get("licence", ""),
            }
            for name, profile in profiles
        },
        "ms_per_image": _ms_per_image(card["cost_ms"]),
    }


def _ms_per_image(cost_ms: BatchCost) -> float:
    """The time of a batch of one image."""
    return round(cost_ms["a"] + cost_ms["b"], 2)


def notes_of(result: StoredResult, fields: Mapping[str, str]) -> list[str]:
    """Codes of what to know of a result, and of how this job (its fields) came to it."""
    lighter = LIGHTER_MODEL if fields.get("asked_model") else LIGHTER_SETTINGS
    return [*result.get("notes", ()), *([lighter] if fields.get("degraded") else [])]


def _result(
    result: StoredResult, results: Results, origin: str, fields: Mapping[str, str]
) -> ResultBody:
    def shown(image: StoredObject) -> ObjectBody:
        return {
            "url": results.address(image["key"], origin, image["type"]),
            "type": image["type"],
            "width": image["width"],
            "height": image["height"],
            "bytes": image["bytes"],
        }

    images = {name: shown(image) for name, image in result["objects"].items()}
    small = result.get("thumbnail")
    body = {name: value for name, value in result.items() if name != "made_s"}
    body["orientation"] = result.get("orientation", 1)  # results of earlier versions have none
    body["browsers_agree"] = result.get("browsers_agree", True)
    body["notes"] = described(notes_of(result, fields))
    body["thumbnail"] = shown(small) if small else None
    return cast(ResultBody, {**body, "objects": images})


def _why_degraded(fields: Mapping[str, str], result: StoredResult | None) -> str | None:
    """The pilot's reason, or that of a device that was too small."""
    if result and result.get("degraded"):
        return "The device had too little memory: the model's fallback was used."
    return fields.get("degraded") or None


def _expires_ms(fields: Mapping[str, str], result: StoredResult | None) -> float:
    """When an ended job leaves its user's history: with its result, if it has one."""
    made_ms = result.get("made_s", 0) * 1000 if result else 0
    return (made_ms or float(fields.get("ended") or fields["created"])) + result_life_s() * 1000


def _slices(text: str | None) -> SlicesBody | None:
    """From `120/300`, as a run's record has it."""
    if not text:
        return None
    done, total = map(int, text.split("/"))
    return {"done": done, "total": total}


def _timings(fields: Mapping[str, str]) -> Mapping[str, float]:
    if not fields.get("timings"):
        return {}
    spent: dict[str, float] = orjson.loads(fields["timings"])
    return {stage: round(spent[stage], 2) for stage in TIMED_STAGES if stage in spent}


def _error(error: ErrorRecord) -> JobErrorBody:
    return {"code": error["code"], "message": error["message"], "hint": error["hint"]}
