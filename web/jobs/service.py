"""Jobs of one web process: submit, get, cancel, delete."""

import secrets
from typing import cast

import orjson
import structlog
from starlette.requests import Request

from storage import keys
from storage.catalogue import ModelCard
from storage.jobs import claims, endings
from storage.jobs.claims import Claim, Ready
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import AsyncRedis, Call
from storage.redis.durable import DiskBarrier
from storage.s3.asynchronous import AsyncObjects
from storage.states import ENDED
from tasks import envelope, tracing
from tasks.errors import BadInput
from tasks.settings import settings
from web.jobs import admission, counters, lighter, parameters, quotas, volumes
from web.jobs.catalogue import CachedCatalogue
from web.jobs.erasure import Erasures
from web.jobs.export import Exports
from web.jobs.history import History
from web.jobs.lighter import Plan
from web.jobs.limiter import Limiter
from web.jobs.publisher import Publisher
from web.jobs.quotas import QuotaBook
from web.jobs.results import Results
from web.jobs.room import Room
from web.jobs.sessions import Sessions
from web.jobs.shares import Shares
from web.jobs.starter import RunStarter, preprocess_ms
from web.jobs.submission import (
    Submission,
    UploadNeeded,
    default_deadline_s,
    idempotency,
)
from web.jobs.uploads import Uploads
from web.live.pubsub import PubSub
from web.live.watcher import JobWatcher, no_job

log = structlog.get_logger()


class JobService:
    """What the routes of one web process need to hand in work and to see how it goes."""

    def __init__(
        self, state: AsyncRedis, cache: AsyncRedis, objects: AsyncObjects, pubsub: PubSub
    ) -> None:
        self._state, self._cache, self._objects = state, cache, objects
        self._pubsub = pubsub
        self.room, self.limiter = Room(state), Limiter()
        self.catalogue = CachedCatalogue(state)
        self.sessions, self.shares = Sessions(state), Shares(state)
        self.quotas = QuotaBook(state)
        self.uploads = Uploads(state, objects, self.room.check_new, self.quotas)
        self.results = Results(cache, objects)
        self.erasures, self.exports = Erasures(state), Exports(state, objects)
        self.history = History(state, self.catalogue.read_jobs)
        self._disk = DiskBarrier(settings().state_url, "the state Redis")
        self.watcher = JobWatcher(pubsub, state, self.catalogue.read_jobs)
        self.starter = RunStarter(state, self.uploads, Publisher(state), self.limiter)

    async def close(self) -> None:
        """Queue what is on its way, then close all connections. Stop `pubsub` before."""
        await self.starter.close()
        await self._disk.close()
        await self._objects.close()
        await self._pubsub.close()
        await self._state.close()
        await self._cache.close()

    def check(self) -> None:
        """Raise Unavailable while requests for work are refused before they are read."""
        self.room.check_stopping()
        self.limiter.check()

    async def submit(self, submission: Submission) -> Snapshot:
        """The job: answered from the cache, joined to an equal run, or queued.

        Raises BadInput, UploadNeeded, Busy or another Unavailable, StorageDown.
        """
        with self.limiter.in_progress():
            snapshot = await self._submit(submission)
        if settings().durable and snapshot.state not in ENDED:
            await self._disk.passed_by(keys.job(snapshot.fields["id"]))
        return snapshot

    async def get(self, user: str, job_id: str) -> Snapshot:
        """A job of this user; BadInput (404) if this user has no such job."""
        return await self.watcher.get(user, job_id)

    async def cancel(self, user: str, job_id: str) -> Snapshot:
        """Cancel a job. Its run goes on while another job waits for it."""
        call = endings.cancel(job_id, user, job_ttl_s=settings().result_ttl_s)
        if await self._state.do(call) is None:
            raise no_job(job_id)
        return await self.get(user, job_id)

    async def delete(self, user: str, job_id: str) -> None:
        """Delete a job and its links, and its result and upload if no other job of this user needs
        them."""
        await self.shares.revoke_of_job(user, job_id)
        call = endings.delete(
            job_id,
            user,
            job_ttl_s=settings().result_ttl_s,
        )
        deleted = await self._state.do(call)
        if deleted is None:
            raise no_job(job_id)
        if deleted.has_free_result:
            await self.results.delete(user, deleted.request_key)
        for upload_id in deleted.free_uploads:
            await self.uploads.delete(user, upload_id)

    async def _submit(self, submission: Submission) -> Snapshot:
        plan = await self._plan(submission)
        known_result = await self.results.known(plan.spec.request_key)
        if not known_result and (other := lighter.lighter(plan, await self.catalogue.get())):
            plan = other
            known_result = await self.results.known(plan.spec.request_key)
        submission, card = plan.submission, plan.card
        if not known_result and not (submission.photo.upload or submission.photo.data):
            raise UploadNeeded(
                "this file is not known yet",
                hint="PUT it to the upload's address, then send this request again.",
            )
        if known_result:
            await self.room.check_known()
            return await self._claim(plan, known_result)
        await volumes.check(self.uploads, submission, card, self.catalogue.scratch)
        for upload_id in parameters.uploads(card["params"], plan.spec.params):
            await self.uploads.photo(submission.user, upload_id)  # raises if it is not there
        await self.room.check_new()
        with self.limiter.new_in_progress(submission.model):
            return await self._claim(plan, "")

    async def _plan(self, submission: Submission) -> Plan:
        """What is asked for. Raises BadInput, or Unavailable where nobody serves it."""
        card = await self.catalogue.card(submission.model, submission.photo.identity)
        order = (await self.catalogue.get()).orders.of(submission.model)
        return lighter.as_asked(submission, card, order)

    async def _claim(self, plan: Plan, known_result: str) -> Snapshot:
        """Claim a run for a new job, and start it unless another job has."""
        job_id = secrets.token_hex(16)
        submission, card, spec = plan.submission, plan.card, plan.spec
        variant = admission.variant(card, spec.params)
        priority, costs = submission.priority, self.catalogue.costs
        ready = _ready(submission, card)
        scratch = volumes.scratch_bytes(card, submission.photo.size)
        claim = await self._claimed(
            job_id,
            spec,
            claims.claim(
                job_id,
                spec,
                priority=priority,
                job_ttl_s=settings().result_ttl_s,
                variant=variant,
                limits=admission.limits(costs, variant, priority, self.catalogue.scratch, scratch),
                known_result=known_result,
                deadline_s=submission.deadline_s or default_deadline_s(card, priority),
                keep=submission.keep,
                idempotency=idempotency(submission, plan.asked),
                flow=admission.flow(costs, variant, submission.share.flow, submission.share.weight),
                ready=ready,
                use=quotas.of_image(submission.paid_by, len(submission.photo.data)),
                name=submission.name,
                degraded=plan.degraded,
                asked_model=plan.asked_model,
                most_jobs=settings().history_jobs,
                discards=volumes.is_discarded(card),
            ),
        )
        if claim.verdict == "again":
            return await self.get(submission.user, claim.payload)
        _refuse(submission, claim)
        ref = RunRef(spec.request_key, claim.attempt)
        if claim.verdict == "start" and ready is None:
            await self.starter.start(submission, card, ref, spec)
        elif self._is_to_be_taken_over(submission, claim, ref):
            await self.starter.take_over(submission, card, ref, spec, job_id)
        return _new_snapshot(job_id, plan, claim)

    async def _claimed(self, job_id: str, spec: Spec, call: Call[Claim]) -> Claim:
        """What becomes of a claim, which is a span of its request's trace."""
        about = {"pixelmill.job": job_id, "pixelmill.run": spec.request_key[:12]}
        with tracing.child("claim", spec.traceparent, about) as span:
            claim = await self._state.do(call)
            span.set({"pixelmill.verdict": claim.verdict})
        if spec.traceparent:  # from a job, this line leads to its run and to the trace of both
            log.info("job claimed", job=job_id, run=spec.request_key[:12], verdict=claim.verdict)
        return claim

    def _is_to_be_taken_over(self, submission: Submission, claim: Claim, ref: RunRef) -> bool:
        """Whether the run that this job joined is not queued yet, and this process can do that."""
        is_waiting_for_bytes = claim.verdict == "join" and bool(claim.payload)
        return is_waiting_for_bytes and self.starter.may_take_over(submission, ref)


def service_of(request: Request) -> JobService:
    """The service of the app that serves this request."""
    return cast(JobService, request.app.state.service)


def _ready(submission: Submission, card: ModelCard) -> Ready | None:
    """What a run needs to go into the backlog with its claim; None if its bytes must be stored
    first."""
    if submission.photo.data:
        return None
    return Ready(preprocess_ms(card, submission.photo), envelope.tickets())


def _refuse(submission: Submission, claim: Claim) -> None:
    """Count the claim. Raises BadInput or Busy for one that was refused."""
    if claim.verdict == "mismatch":
        raise BadInput(
            "this Idempotency-Key was used for another request",
            code="idempotency_mismatch",
            hint="Use a new key for each request, and the same one to send a request again.",
        )
    counters.CLAIMS.labels(submission.model, claim.verdict).inc()
    if claim.verdict == "busy":
        refusal = claims.refusal(claim)
        counters.REFUSED.labels(submission.model, refusal.limit).inc()
        raise admission.busy(refusal, submission.priority)


def _new_snapshot(job_id: str, plan: Plan, claim: Claim) -> Snapshot:
    """The job that was just written, without reading it back."""
    submission, spec = plan.submission, plan.spec
    fields = {
        "id": job_id,
        "user": submission.user,
        "model": submission.model,
        "request_key": spec.request_key,
        "params": orjson.dumps(spec.params).decode(),
        "priority": submission.priority,
        "weights": spec.weights,
        "cached": "1" if claim.verdict in ("hit", "failed") else "0",
        "state": {"hit": "done", "failed": "failed"}.get(claim.verdict, "queued"),
        "created": f"{claim.at_ms:.3f}",
    }
    optional = {
        "name": submission.name,
        "degraded": plan.degraded,
        "asked_model": plan.asked_model,
    }
    fields |= {name: value for name, value in optional.items() if value}
    if claim.verdict == "start":
        fields["upload"] = spec.upload
    if claim.verdict == "hit":
        fields["result"] = claim.payload
    if claim.verdict == "failed":
        fields["error"] = claim.payload
    return Snapshot(fields, allowances=claim.allowances)
