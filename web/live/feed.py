"""Changes of all jobs of one user, as one stream that can be resumed on any web process."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Self

import structlog

from storage import keys
from storage.errors import StorageDown
from storage.jobs import history
from storage.jobs.snapshots import JobSnapshots, Snapshot
from storage.redis.calls import AsyncRedis
from storage.states import ENDED
from web.live.pubsub import PubSub, Subscription
from web.live.snapshots import SnapshotReader

NEWEST = 100
"""How many of the user's newest jobs a feed begins with, besides those that are named."""
LIST_S = 10.0
"""New jobs are announced by a message; so often the list of jobs is read in case one was lost."""
NEVER = float("inf")

log = structlog.get_logger()


@dataclass(frozen=True)
class Delta:
    """What has changed since the previous delta; possibly nothing."""

    jobs: Sequence[Snapshot]
    gone: Sequence[str]
    """Ids of jobs that do not exist, or belong to another user."""
    cursor_ms: float
    """Redis time. All jobs created before it are known to the reader, and all ends before it have
    been sent: a feed that resumes here misses nothing."""


class Feed:
    """Deltas of a user's jobs, without end: first those under way and those named, then changes.

    The first delta also has the jobs that ended after `since_ms`, and raises StorageDown when Redis
    does not answer. Later ones come at least every few seconds, even if they are empty. The reader
    has to close the feed.

    Each message about a job becomes a request for a snapshot, whose answer wakes the reader once
    per change. This is no generator, since resuming one costs more than the work in between.
    """

    def __init__(
        self,
        pubsub: PubSub,
        reader: SnapshotReader,
        state: AsyncRedis,
        user: str,
        named: Collection[str] = (),
        since_ms: float = NEVER,
    ) -> None:
        self._user, self._reader, self._state = user, reader, state
        self._named, self._since_ms = set(named), since_ms
        self._subscription = Subscription(pubsub)
        self._user_channel = keys.user_jobs(user)
        self._changed: list[Snapshot] = []
        self._gone: list[str] = []
        self._sent: dict[str, tuple[str, int, int]] = {}
        """Job under way -> (state, version, runs ahead) as it was last sent."""
        self._announced: set[str] = set()
        """New jobs that were not read yet."""
        self._channel_of: dict[str, str] = {}
        self._jobs_of: dict[str, set[str]] = {}
        self._listed_s, self._listed_ms, self._listed_connects = 0.0, 0.0, -1
        self._cursor_ms = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        """The next delta, as soon as something changes or a resync is due."""
        if not self._subscription.channels:
            await self._begin()
        elif await self._subscription.notified():
            await self._resync()
        return self._delta()

    async def aclose(self) -> None:
        """Unsubscribe."""
        self._subscription.close()

    async def _begin(self) -> None:
        """Read the first snapshot."""
        self._subscription.add(self._user_channel)
        try:
            listed = await self._list()
            current = await self._reader.read(self._named | listed)
        except BaseException:
            self._subscription.close()
            raise
        old = {
            job_id
            for job_id in listed - self._named
            if _ended_before(current.jobs.get(job_id), self._since_ms)
        }
        self._compare((self._named | listed) - old, current)
        self._cursor_ms = self._listed_ms
        self._subscription.on_message = self._on_message
        for channel, messages in self._subscription.take().items():
            for message in messages:
                self._on_message(channel, message)
        self._subscription.resync()  # for changes between the snapshot and the subscriptions

    async def _resync(self) -> None:
        known = set(self._sent)
        try:
            job_ids = known | await self._new_jobs()
            current = await self._reader.read(job_ids)
        except StorageDown as error:
            self._lose(error)
            return
        # Without the jobs whose end was sent meanwhile.
        self._compare(job_ids - known | known & self._sent.keys(), current)
        self._cursor_ms = self._listed_ms

    def _on_message(self, channel: str, message: bytes) -> None:
        """Request a snapshot of the jobs that the message is about."""
        job_ids = self._jobs_of.get(channel)
        if job_ids is None and channel == self._user_channel:
            job_ids = {message.decode()}
            self._announced |= job_ids
        if job_ids:
            self._reader.request(job_ids, self._on_snapshot)

    def _on_snapshot(self, job_ids: set[str], outcome: JobSnapshots | Exception) -> None:
        if not self._subscription.channels:  # the reader has closed the feed
            return
        if isinstance(outcome, Exception):
            self._lose(outcome)
            return
        followed = [id for id in job_ids if id in self._sent or id in self._announced]
        self._compare(followed, outcome)
        self._announced -= job_ids
        if self._changed or self._gone:
            self._subscription.notify()

    def _lose(self, error: Exception) -> None:
        log.warning("feed waits for Redis", reason=str(error))
        # Read the list again from where the reader is: this turn may have lost jobs.
        self._listed_ms, self._listed_connects = self._cursor_ms, -1

    def _delta(self) -> Delta:
        delta = Delta(self._changed, self._gone, self._cursor_ms)
        self._changed, self._gone = [], []
        return delta

    async def _new_jobs(self) -> set[str]:
        """Ids of the jobs created since the list was last read, if it is time to read it."""
        is_due = monotonic() - self._listed_s > LIST_S
        has_reconnected = self._listed_connects != self._subscription.connects
        return await self._list() if is_due or has_reconnected else set()

    async def _list(self) -> set[str]:
        connects, listed_s = self._subscription.connects, monotonic()
        listing = await self._state.do(history.jobs_since(self._user, self._listed_ms, NEWEST))
        self._listed_connects, self._listed_s = connects, listed_s
        self._listed_ms = listing.at_ms
        return set(listing.job_ids)

    def _compare(self, job_ids: Collection[str], current: JobSnapshots) -> None:
        """Add to the next delta which of these jobs have changed or are gone."""
        for job_id in job_ids:
            snapshot = current.jobs.get(job_id)
            if snapshot is None or snapshot.fields["user"] != self._user:
                self._gone.append(job_id)
                self._forget(job_id)
            elif self._has_changed(job_id, snapshot):
                self._changed.append(snapshot)

    def _has_changed(self, job_id: str, snapshot: Snapshot) -> bool:
        """Whether a job is to be sent; subscribes to it until it has ended."""
        if (state := snapshot.state) in ENDED:
            self._forget(job_id)
            return True
        if job_id not in self._sent:
            self._subscribe(job_id, keys.run_events(snapshot.fields["request_key"]))
        current = (state, snapshot.version, max(snapshot.ahead, 0))
        previous, self._sent[job_id] = self._sent.get(job_id), current
        return current != previous

    def _subscribe(self, job_id: str, channel: str) -> None:
        self._channel_of[job_id] = channel
        self._jobs_of.setdefault(channel, set()).add(job_id)
        self._subscription.add(channel)

    def _forget(self, job_id: str) -> None:
        self._sent.pop(job_id, None)
        channel = self._channel_of.pop(job_id, "")
        others = self._jobs_of.get(channel, set())
        others.discard(job_id)
        if channel and not others:
            del self._jobs_of[channel]
            self._subscription.remove(channel)


def _ended_before(snapshot: Snapshot | None, at_ms: float) -> bool:
    """Also true for a job that never waited: its end was in the answer to its request."""
    if snapshot is None or snapshot.state not in ENDED:
        return snapshot is None
    return float(snapshot.fields.get("ended") or 0) < at_ms
