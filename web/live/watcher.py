"""Jobs of one user as they are now, and as they change: get, wait, watch, follow."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress

from storage import keys
from storage.errors import StorageDown
from storage.jobs.snapshots import JobSnapshots, Snapshot, ended
from storage.redis.calls import AsyncRedis
from storage.states import ENDED
from tasks.errors import BadInput
from web.live import feed
from web.live.pubsub import PubSub
from web.live.snapshots import Read, SnapshotReader
from web.text import shown

THROTTLE_S = 0.025
"""Streams of progress are this late at most, and share their reads."""
FIRST_READ_S = 0.5
"""Who waits for the end of a run reads the job once after this time, to learn soon if Redis has
fallen silent."""


class JobWatcher:
    """Reads jobs for the requests of one process; every answer is checked to be of that user."""

    def __init__(self, pubsub: PubSub, state: AsyncRedis, read: Read) -> None:
        self._pubsub, self._state = pubsub, state
        self._reader, self._throttled = SnapshotReader(read), SnapshotReader(read, THROTTLE_S)

    @property
    def channels(self) -> int:
        """How many pub/sub channels the requests of this process are subscribed to."""
        return len(self._pubsub.subscriptions)

    async def get(self, user: str, job_id: str) -> Snapshot:
        """A job of this user; BadInput (404) if this user has no such job."""
        return await _get(self._reader, user, job_id)

    async def wait(self, snapshot: Snapshot, wait_s: float) -> Snapshot:
        """The job once it has ended, or as it is after `wait_s` or when Redis falls silent."""
        if snapshot.state in ENDED or wait_s <= 0:
            return snapshot
        user, job_id = snapshot.fields["user"], snapshot.fields["id"]
        channel = keys.run_events(snapshot.fields["request_key"])
        with (
            suppress(StorageDown),  # the job was accepted: that much is known
            self._pubsub.subscribed(channel) as subscription,
        ):

            def notify(*_: object) -> None:
                if self._pubsub.end_of(channel):
                    subscription.notify()

            subscription.on_message = notify
            notify()
            first_read = asyncio.get_running_loop().call_later(FIRST_READ_S, subscription.notify)
            try:
                async with asyncio.timeout(wait_s):
                    while snapshot.state not in ENDED:
                        await subscription.notified()
                        end = self._pubsub.end_of(channel)
                        told = ended(snapshot, end) if end else None
                        snapshot = told or await self.get(user, job_id)
            except TimeoutError:
                snapshot = await self.get(user, job_id)
            finally:
                first_read.cancel()
        return snapshot

    async def watch(self, snapshot: Snapshot) -> AsyncIterator[Snapshot]:
        """The job as it is now, then each later state until it has ended."""
        user, job_id = snapshot.fields["user"], snapshot.fields["id"]
        channel = keys.run_events(snapshot.fields["request_key"])
        with self._pubsub.subscribed(channel) as subscription:
            latest: JobSnapshots | Exception

            def receive(_: object, outcome: JobSnapshots | Exception) -> None:
                nonlocal latest
                latest = outcome
                subscription.notify()

            subscription.on_message = lambda *_: self._throttled.request((job_id,), receive)
            snapshot = await _get(self._throttled, user, job_id)
            while True:
                yield snapshot
                if snapshot.state in ENDED:
                    return
                is_resync = await subscription.notified()
                snapshot = (
                    await _get(self._throttled, user, job_id)
                    if is_resync
                    else _own(latest, user, job_id)
                )

    def follow(self, user: str, named: Collection[str], since_ms: float = feed.NEVER) -> feed.Feed:
        """Deltas of this user's jobs: those under way, those named, and those created later."""
        return feed.Feed(self._pubsub, self._throttled, self._state, user, named, since_ms)


def no_job(job_id: str) -> BadInput:
    """The error for a job that does not exist, or belongs to another user."""
    return BadInput(f"no job {shown(job_id)}", code="no_job", status=404)


async def _get(reader: SnapshotReader, user: str, job_id: str) -> Snapshot:
    return _own(await reader.read([job_id]), user, job_id)


def _own(outcome: JobSnapshots | Exception, user: str, job_id: str) -> Snapshot:
    if isinstance(outcome, Exception):
        raise outcome
    snapshot = outcome.jobs.get(job_id)
    if snapshot is None or snapshot.fields["user"] != user:
        raise no_job(job_id)
    return snapshot
