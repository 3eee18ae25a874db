"""submit, status, watch: the only thing that web needs to know of how work is done."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import structlog

from storage import catalogue, keys
from storage import results as stored_results
from storage import uploads as stored_uploads
from storage.catalogue import Catalogue
from storage.errors import StorageDown
from storage.jobs import claims, endings, snapshots
from storage.jobs.claims import Claim
from storage.jobs.endings import Deleted, End
from storage.jobs.snapshots import JobSnapshots, Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import AsyncRedis, Word
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import Objects
from storage.states import ENDED
from tasks.errors import BadInput, JobError, Unavailable, storage_away
from tasks.message import Priority, error_record
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import admission, counters, parameters
from web.jobs.publisher import PendingRun, Publisher
from web.live import feed
from web.live.pubsub import Hub
from web.live.snapshots import Snapshots
from web.text import shown

CATALOGUE_AGE_S = 1.0
GIVE_UP_S = 0.2
GATHER_S = 0.025
"""Streams of progress are this late at most, and share their reads."""
FIRST_LOOK_S = 0.02
"""Who waits for the end of a run looks at it once after this. Sooner, there is nothing to see."""
UPLOAD_AGE_S = 60.0
AT_HAND = 64
"""Requests for work that may wait for this process, its CPU or Redis, at a time. Whoever comes then
hears so at the door: to refuse later would cost as much as to serve. As many clients with a photo
each ask at once when a bench begins, and all are served (docs/benchmarks/device.md)."""
ENTERING = 64
"""New work that one process deals with at a time, those included whose bytes S3 is taking."""
UPLOADS_KNOWN = 10_000
OUTPUTS = ("alpha", "preview", "cutout", "cutout-png", "cutout-webp", "cutout-avif")
DEFAULT_OUTPUT = ("alpha", "preview")
DEADLINES_S: Mapping[str, float] = {"interactive": 120, "batch": 3600}
LONGEST_DEADLINE_S = 24 * 3600

Card = Mapping[str, Any]
"""The catalogue's entry of a model."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Photo:
    """The image of a request."""

    identity: str
    """What the request key knows it by: SHA-256 and variant, or an upload's id."""
    size: int
    upload: str = ""
    """Id of the upload that has the bytes; made when leading if the request brought them."""
    data: bytes = b""
    media_type: str = ""
    body_sha256: str = ""
    etag: str = ""


@dataclass(frozen=True)
class Request:
    """One job that somebody asks for."""

    user: str
    model: str
    photo: Photo
    params: Mapping[str, Any] = field(default_factory=dict)
    output: Sequence[str] = DEFAULT_OUTPUT
    priority: Priority = "interactive"
    keep: bool = True
    """False: the job lives only while somebody looks at it."""
    deadline_s: float | None = None
    """When it fails, counted from now; None: DEADLINES_S of its priority."""
    idempotency_key: str = ""
    """Asked again with the same key, the same user gets the same job."""


Check = Callable[[], Awaitable[None]]


class UploadNeeded(JobError):
    """Neither a result nor the bytes of this file are known."""

    code = "upload_needed"
    status = 409


class Pipeline:
    """What a web process needs to hand in work and to see how it goes."""

    def __init__(self, state: AsyncRedis, cache: AsyncRedis, objects: Objects, hub: Hub) -> None:
        self.state, self.cache, self.objects, self.hub = state, cache, objects, hub
        self.remote = AsyncObjects(objects, getattr(objects, "url", ""))
        self.publisher = Publisher(state)
        self._giving_up: set[asyncio.Task[None]] = set()
        self.views, self.glances = Snapshots(self._look), Snapshots(self._look, GATHER_S)
        self._catalogue: tuple[float, Catalogue] | None = None
        self._costs: admission.Costs = {}
        self._costs_json = b"{}"
        self._models_seen: set[str] = set()
        self._scratch = admission.NO_SCRATCH_LIMIT
        self._uploads: dict[tuple[str, str], tuple[float, Mapping[str, str]]] = {}
        self._bringing: set[str] = set()
        self.check_new: Check | None = None
        """Raises Unavailable where new work is not taken."""
        self.check_known: Check | None = None
        """Raises Unavailable where not even a job with a known result is."""
        self._entering = self._at_hand = 0

    def check_room(self) -> None:
        """Raise Busy while more requests for work wait for this process than it soon serves."""
        if self._at_hand >= AT_HAND:
            counters.REFUSED.labels("", "at_hand").inc()
            raise admission.crowded("at_hand", AT_HAND)

    async def close(self) -> None:
        """Send what is on its way to the queue; after the hub was stopped."""
        await self.publisher.stop()
        await asyncio.gather(*self._giving_up, return_exceptions=True)
        await self.remote.close()
        await self.hub.close()
        await self.state.close()
        await self.cache.close()

    async def catalogue(self) -> Catalogue:
        """What live workers can do, at most CATALOGUE_AGE_S old."""
        if self._catalogue is None or monotonic() - self._catalogue[0] > CATALOGUE_AGE_S:
            self._catalogue = (monotonic(), await self.state.do(catalogue.read()))
            self._costs = admission.costs(self._catalogue[1])
            self._costs_json = snapshots.costs_json(self._costs)
            self._scratch = admission.scratch(self._catalogue[1])
            self._models_seen |= self._catalogue[1].models.keys()
        return self._catalogue[1]

    async def card(self, model: str) -> Mapping[str, Any]:
        """The catalogue's entry of a model that can be asked now.

        Raises BadInput (404) for an unknown one, Unavailable when nobody has served it for long.
        """
        now = await self.catalogue()
        card = now.models.get(model)
        if card is None:
            if not now.models or model in self._models_seen:  # its worker has yet to announce it
                raise _no_worker(model)
            there = ", ".join(now.models)
            raise BadInput(
                f"no model {shown(model)}; there are: {there}", code="no_model", status=404
            )
        if now.is_gone(gpu_queue(model)) or now.is_gone("cpu"):
            raise _no_worker(model)
        return card

    async def submit(self, request: Request) -> Snapshot:
        """Give the request a job: answered from the cache, joined to an equal run, or queued."""
        with self._taken_in_hand():
            return await self._submit(request)

    @contextmanager
    def _taken_in_hand(self) -> Iterator[None]:
        self._at_hand += 1
        try:
            yield
        finally:
            self._at_hand -= 1

    @contextmanager
    def _out_of_hand(self) -> Iterator[None]:
        """Somebody else, S3, is at this request."""
        self._at_hand -= 1
        try:
            yield
        finally:
            self._at_hand += 1

    async def _submit(self, request: Request) -> Snapshot:
        card = await self.card(request.model)
        spec = self._spec(request, card)
        known_result = await self._remembered(spec.request_key)
        if not known_result and not (request.photo.upload or request.photo.data):
            raise UploadNeeded(
                "this file is not known yet", hint="PUT it to the upload's address, then ask again."
            )
        if known_result:
            if self.check_known:
                await self.check_known()
            return await self._enter(request, card, spec, known_result)
        if self.check_new:
            await self.check_new()
        if self._entering >= ENTERING:
            counters.REFUSED.labels(request.model, "entering").inc()
            raise admission.crowded("entering", ENTERING)
        self._entering += 1
        try:
            return await self._enter(request, card, spec, known_result)
        finally:
            self._entering -= 1

    async def _enter(self, request: Request, card: Card, spec: Spec, known_result: str) -> Snapshot:
        """Claim, and bring the run on its way if this job leads it."""
        job_id = secrets.token_hex(16)
        variant = admission.variant(card, spec.params)
        claim = await self.state.do(
            claims.claim(
                job_id,
                spec,
                priority=request.priority,
                job_ttl_s=settings().job_ttl_s,
                variant=variant,
                limits=admission.limits(self._costs, variant, request.priority, self._scratch),
                known_result=known_result,
                deadline_s=request.deadline_s or DEADLINES_S[request.priority],
                keep=request.keep,
                idempotency=_idempotency(request, spec),
            )
        )
        if claim.verdict == "mismatch":
            raise BadInput(
                "this Idempotency-Key was used for another request",
                code="idempotency_mismatch",
                hint="Use a new key for each request, and the same one to send a request again.",
            )
        if claim.verdict == "again":
            return await self.view(request.user, claim.payload)
        counters.CLAIMS.labels(request.model, claim.verdict).inc()
        if claim.verdict == "busy":
            refusal = claims.refusal(claim)
            counters.REFUSED.labels(request.model, refusal.limit).inc()
            raise admission.busy(refusal, request.priority)
        ref = RunRef(spec.request_key, claim.attempt)
        if claim.verdict == "start":
            await self._lead(request, card, ref, spec)
        elif claim.verdict == "join" and claim.payload and self._may_bring(request, ref):
            # Its leader is another process, and may have died with the bytes in hand.
            await self._take_up(request, card, ref, spec, job_id)
        return _fresh(job_id, request, spec, claim)

    async def view(self, user: str, job_id: str) -> Snapshot:
        """A job of this user; BadInput (404) if there is none, whoever else may have it."""
        return await self._seen(self.views, user, job_id)

    async def _look(self, job_ids: Sequence[str]) -> JobSnapshots:
        await self.catalogue()  # for the estimate of the wait
        return await self.state.do(snapshots.read(job_ids, self._costs_json))

    async def _seen(self, views: Snapshots, user: str, job_id: str) -> Snapshot:
        return _own(await views.look([job_id]), user, job_id)

    async def cancel(self, user: str, job_id: str) -> Snapshot:
        """Take a job away from its run; the run goes on while another job waits for it."""
        call = endings.cancel(job_id, user, job_ttl_s=settings().job_ttl_s)
        if await self.state.do(call) is None:
            raise no_job(job_id)
        return await self.view(user, job_id)

    async def delete(self, user: str, job_id: str) -> None:
        """Forget a job, and whatever no other job of the user needs: its result, its upload."""
        call = endings.delete(job_id, user, job_ttl_s=settings().job_ttl_s)
        deleted = await self.state.do(call)
        if deleted is None:
            raise no_job(job_id)
        await asyncio.to_thread(self._delete_objects, user, deleted)
        if deleted.has_free_result:
            with suppress(StorageDown):  # a cache that is away forgets by itself
                await self.cache.do(stored_results.forget(deleted.request_key))
        for upload_id in deleted.free_uploads:
            self._uploads.pop((user, upload_id), None)

    def _delete_objects(self, user: str, deleted: Deleted) -> None:
        if deleted.has_free_result:
            self.objects.delete_all(keys.result_folder(user, deleted.request_key))
        for upload_id in deleted.free_uploads:
            self.objects.delete(keys.upload_object(user, upload_id))

    async def wait(self, view: Snapshot, wait_s: float) -> Snapshot:
        """The job once it has ended, or as it was last seen after `wait_s` or without Redis."""
        if view.state in ENDED or wait_s <= 0:
            return view
        user, job_id, is_first = view.fields["user"], view.fields["id"], True
        channel = keys.run_events(view.fields["request_key"])
        with (
            suppress(TimeoutError, StorageDown),  # it was accepted: that much can be said
            self.hub.listening(channel) as listener,
        ):
            listener.hear = lambda _, word: listener.wake() if _is_end(word) else None
            async with asyncio.timeout(wait_s):
                while view.state not in ENDED:
                    with suppress(TimeoutError):  # it may have ended before this listened
                        async with asyncio.timeout(FIRST_LOOK_S if is_first else None):
                            await listener.woken()
                    is_first = False
                    view = await self._seen(self.views, user, job_id)
        return view

    async def watch(self, view: Snapshot) -> AsyncIterator[Snapshot]:
        """The job as it is, then every state on the way to its end."""
        user, job_id = view.fields["user"], view.fields["id"]
        channel = keys.run_events(view.fields["request_key"])
        with self.hub.listening(channel) as listener:
            found: JobSnapshots | Exception

            def tell(_: object, look: JobSnapshots | Exception) -> None:
                nonlocal found
                found = look
                listener.wake()

            listener.hear = lambda *_: self.glances.ask((job_id,), tell)
            view = await self._seen(self.glances, user, job_id)
            while True:
                yield view
                if view.state in ENDED:
                    return
                is_clock = await listener.woken()
                view = (
                    await self._seen(self.glances, user, job_id)
                    if is_clock
                    else _own(found, user, job_id)
                )

    def follow(self, user: str, named: Collection[str], since_ms: float = feed.NEVER) -> feed.Feed:
        """News of all jobs of this user that are under way, are named, or come."""
        return feed.Feed(self.hub, self.glances, self.state, user, named, since_ms)

    def _spec(self, request: Request, card: Card) -> Spec:
        params = parameters.canonical(card["params"], request.params)
        for name in request.output:
            if name not in OUTPUTS:
                there = ", ".join(OUTPUTS)
                raise BadInput(f"no output {shown(name)}; there are: {there}", code="bad_output")
        photo = request.photo
        spec = Spec(
            request_key="",
            user=request.user,
            model=request.model,
            params=params,
            output=list(request.output),
            upload=photo.upload or secrets.token_hex(16),
            weights=card["weights"],
            code=card["code"],
            body_sha256=photo.body_sha256,
            etag=photo.etag,
            image=photo.identity,
        )
        return with_key(spec)

    async def _remembered(self, key: str) -> str:
        try:
            return await self.cache.do(stored_results.read(key)) or ""
        except StorageDown as error:  # a cache that is away is a cache that is empty
            log.warning("result cache away", reason=str(error))
            return ""

    async def _lead(self, request: Request, card: Card, ref: RunRef, spec: Spec) -> None:
        try:
            await self._bring(request, card, ref, spec.upload)
        except (StorageDown, Unavailable) as error:
            giving_up = asyncio.create_task(self._give_up(ref, error, request))
            self._giving_up.add(giving_up)
            giving_up.add_done_callback(self._giving_up.discard)
            # Hardly waited for: what is away may be what notes it down. A run of which nothing is
            # noted looks lost, and is led again.
            await asyncio.wait({giving_up}, timeout=GIVE_UP_S)
            raise

    async def _bring(self, request: Request, card: Card, ref: RunRef, upload_id: str) -> None:
        """Put the bytes where workers read them, then queue the run."""
        with self._in_hand(ref):
            if request.photo.data:
                await self._put(request, upload_id)
            await self._queue(request, card, ref)

    async def _take_up(
        self, request: Request, card: Card, ref: RunRef, spec: Spec, job_id: str
    ) -> None:
        """The same for a run that another process leads; that may be at it, so its upload stays."""
        with self._in_hand(ref):
            await self._put(request, spec.upload)
            await self.state.do(claims.replace_upload(ref, spec, job_id))
            await self._queue(request, card, ref)

    @contextmanager
    def _in_hand(self, ref: RunRef) -> Iterator[None]:
        """This process brings the bytes of the run."""
        self._bringing.add(ref.key)
        try:
            yield
        finally:
            self._bringing.discard(ref.key)

    async def _put(self, request: Request, upload_id: str) -> None:
        with self._out_of_hand():
            await self._keep(request.user, upload_id, request.photo)

    async def _queue(self, request: Request, card: Card, ref: RunRef) -> None:
        cost_ms = 1.0 if card["decode"] == "none" else 5.0 + request.photo.size / 40_000
        await self.publisher.publish(PendingRun(request.model, request.priority, ref, cost_ms))

    def _may_bring(self, request: Request, ref: RunRef) -> bool:
        return bool(request.photo.data) and ref.key not in self._bringing

    async def _keep(self, user: str, upload_id: str, photo: Photo) -> None:
        """Put the bytes that came with a request where workers read them."""
        key = keys.upload_object(user, upload_id)
        etag = await self.remote.do(lambda s3: s3.put(key, photo.data, photo.media_type))
        await self.remember_upload(user, upload_id, photo, etag)

    async def upload(self, user: str, upload_id: str) -> Mapping[str, str]:
        """An upload's record, empty if there is none; once its bytes are there it never changes."""
        known = self._uploads.get((user, upload_id))
        if known and known[0] > monotonic():
            return known[1]
        record = await self.state.do(stored_uploads.read(user, upload_id))
        if record.get("state") == "there":
            if len(self._uploads) >= UPLOADS_KNOWN:
                self._uploads.clear()
            self._uploads[(user, upload_id)] = (monotonic() + UPLOAD_AGE_S, record)
        return record

    async def remember_upload(self, user: str, upload_id: str, photo: Photo, etag: str) -> None:
        """Record an upload whose bytes are there."""
        sha256, _, variant = photo.identity.partition(":")
        original = (sha256, variant) if variant else None
        fields: dict[str, Word] = {
            "size": photo.size,
            "type": photo.media_type,
            "sha256": sha256 if variant else "",
            "variant": variant,
            "etag": etag,
            "state": "there",
        }
        ttl_s = settings().upload_ttl_s
        await self.state.do(
            stored_uploads.write(user, upload_id, fields, ttl_s=ttl_s, original=original)
        )

    async def _give_up(self, ref: RunRef, error: Exception, request: Request) -> None:
        """End a run that never reached the queue, so that those who joined it do not wait."""
        failure = error if isinstance(error, JobError) else storage_away()
        end = End(ref, "failed", json.dumps(error_record(failure)))
        with suppress(StorageDown):
            await self.state.do(endings.finish([end], job_ttl_s=settings().job_ttl_s))
            if key := request.idempotency_key:  # to send it again is to try again
                await self.state.do(claims.forget_idempotency_key(request.user, key))


def with_key(spec: Spec) -> Spec:
    """The spec with the request key of all that it asks for."""
    key = keys.request_key(
        settings().secret,
        spec.user,
        image=spec.image,
        model=spec.model,
        weights=spec.weights,
        code=spec.code,
        params=spec.params,
        output=spec.output,
    )
    return replace(spec, request_key=key)


def _own(found: JobSnapshots | Exception, user: str, job_id: str) -> Snapshot:
    if isinstance(found, Exception):
        raise found
    view = found.jobs.get(job_id)
    if view is None or view.fields["user"] != user:
        raise no_job(job_id)
    return view


def _no_worker(model: str) -> Unavailable:
    return Unavailable(
        f"no worker serves {shown(model)} at present",
        code="no_worker",
        hint="Try again in a minute; `pixelmill doctor` shows which workers live.",
    )


def no_job(job_id: str) -> BadInput:
    """The answer for a job that does not exist, or that is another user's."""
    return BadInput(f"no job {shown(job_id)}", code="no_job", status=404)


def _idempotency(request: Request, spec: Spec) -> tuple[str, str] | None:
    """(key, what is asked for): of the bytes and parameters that is what the request key says."""
    if not request.idempotency_key:
        return None
    of_work = [request.photo.identity, spec.model, spec.params, spec.output]
    asked = [*of_work, request.priority, request.keep, request.deadline_s]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    return request.idempotency_key, digest.hexdigest()


def _is_end(word: bytes) -> bool:
    """Whether a run said that it has ended."""
    return json.loads(word)["state"] in ENDED


def _fresh(job_id: str, request: Request, spec: Spec, claim: Claim) -> Snapshot:
    """The job just written, without asking for it again."""
    fields = {
        "id": job_id,
        "user": request.user,
        "model": request.model,
        "request_key": spec.request_key,
        "params": json.dumps(dict(spec.params)),
        "priority": request.priority,
        "weights": spec.weights,
        "cached": "1" if claim.verdict in ("hit", "failed") else "0",
        "state": {"hit": "done", "failed": "failed"}.get(claim.verdict, "queued"),
        "created": f"{claim.at_ms:.3f}",
    }
    if claim.verdict == "hit":
        fields["result"] = claim.payload
    if claim.verdict == "failed":
        fields["error"] = claim.payload
    return Snapshot(fields)
