"""Starts claimed runs: stores their bytes where workers read them; then they are in the backlog."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from storage.catalogue import ModelCard
from storage.errors import StorageDown
from storage.jobs import claims, endings
from storage.jobs.spec import RunRef, Spec
from storage.quotas import Use
from storage.redis.calls import AsyncRedis
from storage.uploads import Stored
from tasks.errors import JobError, Unavailable, storage_unavailable
from tasks.message import error_record
from tasks.settings import settings
from web.jobs import quotas
from web.jobs.limiter import Limiter
from web.jobs.publisher import PendingRun, Publisher
from web.jobs.submission import Photo, Submission
from web.jobs.uploads import Uploads

GIVE_UP_S = 0.2


class RunStarter:
    """Brings runs on their way, and ends those that it cannot start."""

    def __init__(
        self, state: AsyncRedis, uploads: Uploads, publisher: Publisher, limiter: Limiter
    ) -> None:
        self._state, self._uploads, self._limiter = state, uploads, limiter
        self.publisher = publisher
        self._starting: set[str] = set()
        """Request keys of the runs that this process is starting."""
        self._ending: set[asyncio.Task[None]] = set()

    def may_take_over(self, submission: Submission, ref: RunRef) -> bool:
        """Whether to start a run that this job has joined: it has the bytes or has stored them, and
        this process is not starting the run already."""
        photo = submission.photo
        return bool(photo.data or photo.upload) and ref.key not in self._starting

    async def start(self, submission: Submission, card: ModelCard, ref: RunRef, spec: Spec) -> None:
        """Start a run that this job has claimed. Raises StorageDown or Unavailable after ending the
        run for all who have joined it; it uses nothing of any quota then."""
        use = quotas.of_image(submission.paid_by, len(submission.photo.data))
        try:
            with self._start_of(ref):
                if submission.photo.data:
                    await self._store(submission, spec.upload, is_counted=True)
                    use = replace(use, stored_ttl_s=0)  # the upload stays, and counts as stored
                await self._queue(submission, card, ref)
        except (StorageDown, Unavailable) as error:
            ending = asyncio.create_task(self._end(ref, error, submission, use))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            # Hardly waited for: the Redis that would record the end may be what does not answer.
            # A run whose end is not recorded looks lost, and is queued again.
            await asyncio.wait({ending}, timeout=GIVE_UP_S)
            raise

    async def take_over(
        self, submission: Submission, card: ModelCard, ref: RunRef, spec: Spec, job_id: str
    ) -> None:
        """Start a run that another process has claimed and not queued yet: it may have died.

        It may also still be at it: so this stores the bytes as an upload of its own.
        """
        with self._start_of(ref):
            if submission.photo.data:
                await self._store(submission, spec.upload, is_counted=False)
            await self._state.do(claims.replace_upload(ref, spec, job_id))
            await self._queue(submission, card, ref)

    async def close(self) -> None:
        """Queue what is on its way, and record the ends of runs that were given up."""
        await self.publisher.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    @contextmanager
    def _start_of(self, ref: RunRef) -> Iterator[None]:
        self._starting.add(ref.key)
        try:
            yield
        finally:
            self._starting.discard(ref.key)

    async def _store(self, submission: Submission, upload_id: str, *, is_counted: bool) -> None:
        """`is_counted`: whether the claim has counted the bytes as stored."""
        photo = submission.photo
        stored = Stored(submission.paid_by, len(photo.data), is_counted)
        with self._limiter.waiting_for_s3():
            await self._uploads.store(submission.user, upload_id, photo, stored)

    async def _queue(self, submission: Submission, card: ModelCard, ref: RunRef) -> None:
        await self.publisher.publish(PendingRun(ref, preprocess_ms(card, submission.photo)))

    async def _end(self, ref: RunRef, error: Exception, submission: Submission, use: Use) -> None:
        """End a run that never reached the queue, so that those who joined it do not wait."""
        failure = error if isinstance(error, JobError) else storage_unavailable()
        record = json.dumps(error_record(failure))
        with suppress(StorageDown):
            call = endings.give_up(ref, record, use, job_ttl_s=settings().result_ttl_s)
            await self._state.do(call)
            if key := submission.idempotency_key:  # the same request may be tried again
                await self._state.do(claims.forget_idempotency_key(submission.user, key))


def preprocess_ms(card: ModelCard, photo: Photo) -> float:
    """Estimated time of a run's preprocessing, from the size of its file. A volume is a message of
    its own: its estimate is above MAX_PREPROCESS_MS."""
    if card.get("input") == "volume":
        return 50.0 + photo.size / 40_000
    return 1.0 if card["decode"] == "none" else 5.0 + photo.size / 40_000
