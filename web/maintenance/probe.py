"""A no-op job through all stages, for each model that is served: whether work really gets through.

It takes the way of every job: bytes to S3, claim, queue, cpu worker, the model's own queue and its
device, cpu worker, S3, cache, pub/sub. It belongs to nobody, counts for nobody's limits, and leaves
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
from typing import Any

from storage import keys
from storage.errors import StorageDown
from storage.jobs import claims
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import MAYBE_TEXT, NUMBER, TEXT, command
from storage.states import ENDED
from tasks import queues
from tasks.errors import JobError
from tasks.message import PROBE
from web.jobs.publisher import PendingRun
from web.jobs.service import Pipeline, with_key

USER = "@probe"
"""No account and no visitor is called so."""
KEPT_MS = 1000
"""Whoever asks within this time gets the same answer, from whichever web process."""
RECORDS_S = 600
TYPE = "application/octet-stream"
STAGES = ("preprocess", "inference", "postprocess")


@dataclass
class Report:
    """What became of one probe."""

    ok: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    """Step -> what it took."""
    stuck: str = ""
    """Where it did not go on."""
    reason: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step's time; where it fails is where the probe is stuck."""
        began, self.stuck = monotonic(), name
        yield
        self.ms[name] = round((monotonic() - began) * 1000, 1)
        self.stuck = ""


class Prober:
    """Probes at most once at a time, however many ask."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._probing: asyncio.Task[dict[str, Any]] | None = None

    async def probe(self, limit_s: float) -> dict[str, Any]:
        """Model -> report of every model that is served, in at most `limit_s` and a little more."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._shared(limit_s))
        return await asyncio.shield(self._probing)

    async def _shared(self, limit_s: float) -> dict[str, Any]:
        state = self._pipeline.state
        known = await state.do(command(_text, "GET", keys.probed(), kinds=MAYBE_TEXT))
        if known:
            return dict(json.loads(known))
        found = await self._probe_all(limit_s)
        with suppress(StorageDown):
            await state.do(
                command(bool, "SET", keys.probed(), json.dumps(found), "PX", KEPT_MS, kinds=TEXT)
            )
        return found

    async def _probe_all(self, limit_s: float) -> dict[str, Any]:
        now = await self._pipeline.catalogue()
        served = [name for name in now.models if now.is_live(queues.gpu_queue(name))]
        reports = await asyncio.gather(*(self._probe(name, limit_s) for name in served))
        return {name: report.__dict__ for name, report in zip(served, reports, strict=True)}

    async def _probe(self, model: str, limit_s: float) -> Report:
        report, job_id, data = Report(), secrets.token_hex(16), secrets.token_bytes(32)
        spec = _spec(PROBE + model, data)
        try:
            async with asyncio.timeout(limit_s):
                await self._send(report, job_id, spec, data)
                await self._follow(report, job_id, limit_s)
        except TimeoutError:
            report.reason = report.reason or f"not through within {limit_s:g} s"
        except (StorageDown, JobError, FileNotFoundError) as error:
            report.reason = str(error)
        finally:
            if not (report.ok or report.stuck):
                report.stuck = await self._where(job_id)
            await self._forget(job_id, spec)
        return report

    async def _send(self, report: Report, job_id: str, spec: Spec, data: bytes) -> None:
        pipeline, key = self._pipeline, keys.upload_object(USER, spec.upload)
        with report.step("upload"):
            await pipeline.remote.do(lambda s3: s3.put(key, data, TYPE))
        with report.step("claim"):
            claim = await pipeline.state.do(
                claims.claim(job_id, spec, priority="interactive", job_ttl_s=RECORDS_S)
            )
        with report.step("queue"):
            ref = RunRef(spec.request_key, claim.attempt)
            await pipeline.publisher.publish(PendingRun(spec.model, "interactive", ref, 1.0))

    async def _follow(self, report: Report, job_id: str, limit_s: float) -> None:
        began = monotonic()
        view = await self._pipeline.view(USER, job_id)
        view = await self._pipeline.wait(view, limit_s)
        report.ms["stages"] = round((monotonic() - began) * 1000, 1)
        if view.state not in ENDED:
            return
        report.ms |= json.loads(view.fields.get("timings") or "{}")
        if view.state != "done":
            report.reason = json.loads(view.fields.get("error") or "{}").get("message", view.state)
            report.stuck = _last_stage(report.ms)
            return
        with report.step("result"):
            await self._check_result(view)
        report.ok = True

    async def _check_result(self, view: Snapshot) -> None:
        """The picture that postprocess made lies in S3."""
        [picture] = json.loads(view.fields["result"])["objects"].values()
        await self._pipeline.remote.do(lambda s3: s3.stat(picture["key"]))

    async def _where(self, job_id: str) -> str:
        """Where the run is now, in words."""
        try:
            async with asyncio.timeout(2):
                return _place(await self._pipeline.view(USER, job_id))
        except (StorageDown, JobError, TimeoutError):
            return "unknown"

    async def _forget(self, job_id: str, spec: Spec) -> None:
        """Remove all that it wrote."""
        pipeline, model = self._pipeline, spec.model
        left = [
            keys.run(spec.request_key),
            keys.mean_stage_ms(model),
            f"{keys.METRICS_PREFIX}{model}:all",
        ]
        with suppress(StorageDown, JobError, TimeoutError):
            async with asyncio.timeout(5):
                await pipeline.delete(USER, job_id)
                await pipeline.remote.do(
                    lambda s3: s3.delete(keys.upload_object(USER, spec.upload))
                )
                await pipeline.state.do(command(int, "DEL", *left, kinds=NUMBER))


def _spec(model: str, data: bytes) -> Spec:
    upload = secrets.token_hex(16)
    digest = hashlib.sha256(data).hexdigest()
    return with_key(
        Spec("", USER, model, {}, [], upload, weights="", code="", body_sha256=digest, image=upload)
    )


def _place(view: Snapshot) -> str:
    """`waiting for inference, behind 3 runs`, `in preprocess for 20 s`."""
    model = view.fields["model"]
    at = view.run.get("stage") or ""
    if view.stage_ms >= 0:
        return f"in {at} for {view.stage_ms / 1000:.1f} s"
    coming = STAGES[min(STAGES.index(at) + 1, 2)] if at in STAGES else STAGES[0]
    behind = f", behind {view.ahead} others" if view.ahead > 0 else ""
    return f"waiting for {coming} in the queue {queues.broker_queue(coming, model)!r}{behind}"


def _last_stage(ms: Mapping[str, float]) -> str:
    return next((stage for stage in reversed(STAGES) if stage in ms), "claim")


def _text(found: Any) -> str | None:
    return found.decode() if isinstance(found, bytes) else found
