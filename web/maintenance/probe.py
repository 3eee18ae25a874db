"""A no-op job through all stages of each model that is served: whether work really gets through.

It goes the way of every job: bytes to S3, claim, queue, cpu worker, the model's queue and device,
cpu worker, S3, cache, pub/sub. It belongs to no account, counts for no user's limits, and leaves
nothing behind.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TypedDict

from storage import keys, object_keys
from storage.errors import StorageDown
from storage.jobs import claims
from storage.jobs.result import StoredResult
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import MAYBE_TEXT, NUMBER, TEXT, AsyncRedis, command
from storage.s3.asynchronous import AsyncObjects
from storage.states import ENDED, STAGES, TIMED_STAGES
from tasks import queues
from tasks.errors import JobError
from tasks.message import PROBE, ErrorRecord
from web.jobs.publisher import PendingRun
from web.jobs.service import JobService
from web.jobs.submission import with_key

USER = "@probe"
"""No account and no visitor can have this name."""
KEPT_MS = 1000
"""Requests within this time get the same answer, from whichever web process."""
RECORDS_S = 600
TYPE = "application/octet-stream"


class Probed(TypedDict):
    """What became of one probe, as JSON."""

    ok: bool
    ms: dict[str, float]
    stuck: str
    reason: str


@dataclass
class Report:
    """What became of one probe."""

    ok: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    """Step -> milliseconds that it took."""
    stuck: str = ""
    """The step that did not end; empty if all have."""
    reason: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step. If it raises, the probe is stuck there."""
        began, self.stuck = monotonic(), name
        yield
        self.ms[name] = round((monotonic() - began) * 1000, 1)
        self.stuck = ""


class Prober:
    """Runs at most one probe at a time; all who ask meanwhile get its answer."""

    def __init__(self, service: JobService, state: AsyncRedis, objects: AsyncObjects) -> None:
        self._service, self._state, self._objects = service, state, objects
        self._probing: asyncio.Task[dict[str, Probed]] | None = None

    async def probe(self, limit_s: float) -> dict[str, Probed]:
        """Model -> report, for every model that is served; takes little more than `limit_s`."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._shared(limit_s))
        return await asyncio.shield(self._probing)

    async def _shared(self, limit_s: float) -> dict[str, Probed]:
        previous = await self._state.do(command(_text, "GET", keys.probed(), kinds=MAYBE_TEXT))
        if previous:
            return dict(json.loads(previous))
        reports = await self._probe_all(limit_s)
        words = ("SET", keys.probed(), json.dumps(reports), "PX", KEPT_MS)
        with suppress(StorageDown):
            await self._state.do(command(bool, *words, kinds=TEXT))
        return reports

    async def _probe_all(self, limit_s: float) -> dict[str, Probed]:
        catalogue = await self._service.catalogue.get()
        served = [name for name in catalogue.models if catalogue.is_live(queues.gpu_queue(name))]
        reports = await asyncio.gather(*(self._probe(name, limit_s) for name in served))
        return dict(zip(served, reports, strict=True))

    async def _probe(self, model: str, limit_s: float) -> Probed:
        report, job_id, data = Report(), secrets.token_hex(16), secrets.token_bytes(32)
        spec = _spec(PROBE + model, data)
        try:
            async with asyncio.timeout(limit_s):
                await self._submit(report, job_id, spec, data)
                await self._wait(report, job_id, limit_s)
        except TimeoutError:
            report.reason = report.reason or f"not through within {limit_s:g} s"
        except (StorageDown, JobError, FileNotFoundError) as error:
            report.reason = str(error)
        finally:
            if not (report.ok or report.stuck):
                report.stuck = await self._location(job_id)
            await self._delete(job_id, spec)
        return {"ok": report.ok, "ms": report.ms, "stuck": report.stuck, "reason": report.reason}

    async def _submit(self, report: Report, job_id: str, spec: Spec, data: bytes) -> None:
        key = object_keys.upload_object(USER, spec.upload)
        with report.step("upload"):
            await self._objects.do(lambda s3: s3.put(key, data, TYPE))
        with report.step("claim"):
            claim = await self._state.do(
                claims.claim(job_id, spec, priority="interactive", job_ttl_s=RECORDS_S)
            )
        with report.step("queue"):
            ref = RunRef(spec.request_key, claim.attempt)
            await self._service.starter.publisher.publish(PendingRun(ref, 1.0))

    async def _wait(self, report: Report, job_id: str, limit_s: float) -> None:
        began = monotonic()
        snapshot = await self._service.get(USER, job_id)
        snapshot = await self._service.watcher.wait(snapshot, limit_s)
        report.ms["stages"] = round((monotonic() - began) * 1000, 1)
        if snapshot.state not in ENDED:
            return
        spent = json.loads(snapshot.fields.get("timings") or "{}")
        report.ms |= {stage: spent[stage] for stage in TIMED_STAGES if stage in spent}
        if snapshot.state != "done":
            error: ErrorRecord | None = json.loads(snapshot.fields.get("error") or "null")
            report.reason = error["message"] if error else snapshot.state
            report.stuck = _last_stage(report.ms)
            return
        with report.step("result"):
            await self._check_result(snapshot)
        report.ok = True

    async def _check_result(self, snapshot: Snapshot) -> None:
        """The object that postprocess has stored is in S3; else FileNotFoundError."""
        result: StoredResult = json.loads(snapshot.fields["result"])
        [stored] = result["objects"].values()
        await self._objects.do(lambda s3: s3.stat(stored["key"]))

    async def _location(self, job_id: str) -> str:
        """Where the run is now, in words."""
        try:
            async with asyncio.timeout(2):
                return _location(await self._service.get(USER, job_id))
        except (StorageDown, JobError, TimeoutError):
            return "unknown"

    async def _delete(self, job_id: str, spec: Spec) -> None:
        """Delete all that the probe has written."""
        model = spec.model
        left = [
            keys.run(spec.request_key),
            keys.mean_stage_ms(model),
            f"{keys.METRICS_PREFIX}{model}:all",
        ]
        upload = object_keys.upload_object(USER, spec.upload)
        with suppress(StorageDown, JobError, TimeoutError):
            async with asyncio.timeout(5):
                await self._service.delete(USER, job_id)
                await self._objects.do(lambda s3: s3.delete(upload))
                await self._state.do(command(int, "DEL", *left, kinds=NUMBER))


def _spec(model: str, data: bytes) -> Spec:
    upload = secrets.token_hex(16)
    digest = hashlib.sha256(data).hexdigest()
    return with_key(
        Spec("", USER, model, {}, [], upload, weights="", code="", body_sha256=digest, image=upload)
    )


def _location(snapshot: Snapshot) -> str:
    """`waiting for inference, behind 3 others`, or `in preprocess for 20 s`."""
    model = snapshot.fields["model"]
    stage = snapshot.run.get("stage") or ""
    if snapshot.stage_ms >= 0:
        return f"in {stage} for {snapshot.stage_ms / 1000:.1f} s"
    coming = STAGES[min(STAGES.index(stage) + 1, 2)] if stage in STAGES else STAGES[0]
    behind = f", behind {snapshot.ahead} others" if snapshot.ahead > 0 else ""
    return f"waiting for {coming} in the queue {queues.broker_queue(coming, model)!r}{behind}"


def _last_stage(ms: Mapping[str, float]) -> str:
    return next((stage for stage in reversed(STAGES) if stage in ms), "claim")


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
