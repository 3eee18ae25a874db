"""What all jobs of one user do, as one stream of news that can be resumed on any web process."""

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
from web.live.pubsub import Hub, Listener
from web.live.snapshots import Snapshots

NEWEST = 100
"""Jobs that a feed begins with, besides those that are named."""
LIST_S = 10.0
"""New jobs are told of at once; so often the list is read in case that was lost."""
NEVER = float("inf")

log = structlog.get_logger()


@dataclass(frozen=True)
class News:
    """What has changed since the last; may be nothing."""

    views: Sequence[Snapshot]
    gone: Sequence[str]
    """Ids of jobs that do not exist, or not for this user."""
    cursor_ms: float
    """Redis time: every job that was asked for before is known, every end before has been told."""


class Feed:
    """News of a user's jobs, for ever: those under way and those named at first, then every change.

    The first news also have what ended after `since_ms`; they raise StorageDown when Redis does not
    answer. Later ones come at least every few seconds, even if there is nothing to tell. Whoever
    reads closes it in the end.

    A word of a job is a question to `views`, whose answers wake the reader: once per change. Not a
    generator, as resuming one costs more than what is done between.
    """

    def __init__(
        self,
        hub: Hub,
        views: Snapshots,
        state: AsyncRedis,
        user: str,
        named: Collection[str] = (),
        since_ms: float = NEVER,
    ) -> None:
        self._user, self._views, self._state = user, views, state
        self._named, self._since_ms = set(named), since_ms
        self._listener = Listener(hub)
        self._channel = keys.user_jobs(user)
        self._changed: list[Snapshot] = []
        self._gone: list[str] = []
        self._told: dict[str, tuple[str, int, int]] = {}
        """What has been told of which jobs."""
        self._announced: set[str] = set()
        self._channel_of: dict[str, str] = {}
        self._jobs_of: dict[str, set[str]] = {}
        self._listed_s, self._listed_ms, self._joined = 0.0, 0.0, -1
        self._cursor_ms = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        """What has changed, as soon as something has or the hub's clock strikes."""
        if not self._listener.channels:
            await self._begin()
        elif await self._listener.woken():
            await self._see_all()
        return self._news()

    async def aclose(self) -> None:
        """Hear no more."""
        self._listener.close()

    async def _begin(self) -> None:
        """The snapshot."""
        self._listener.add(self._channel)
        try:
            found = await self._list()
            look = await self._views.look(self._named | found)
        except BaseException:
            self._listener.close()
            raise
        old = {
            job_id
            for job_id in found - self._named
            if _ended_before(look.jobs.get(job_id), self._since_ms)
        }
        self._see((self._named | found) - old, look)
        self._cursor_ms = self._listed_ms
        self._listener.hear = self._hear
        for channel, words in self._listener.take().items():
            for word in words:
                self._hear(channel, word)
        self._listener.look_again()  # for what changes between this look and the listening

    async def _see_all(self) -> None:
        known = set(self._told)
        try:
            ids = known | await self._new()
            look = await self._views.look(ids)
        except StorageDown as error:
            self._lose(error)
            return
        self._see(ids - known | known & self._told.keys(), look)  # without what ended meanwhile
        self._cursor_ms = self._listed_ms

    def _hear(self, channel: str, word: bytes) -> None:
        """Called by the hub: look at the jobs that the word is of."""
        job_ids = self._jobs_of.get(channel)
        if job_ids is None and channel == self._channel:
            job_ids = {word.decode()}
            self._announced |= job_ids
        if job_ids:
            self._views.ask(job_ids, self._tell)

    def _tell(self, job_ids: set[str], found: JobSnapshots | Exception) -> None:
        if not self._listener.channels:  # whoever followed has left
            return
        if isinstance(found, Exception):
            self._lose(found)
            return
        self._see([one for one in job_ids if one in self._told or one in self._announced], found)
        self._announced -= job_ids
        if self._changed or self._gone:
            self._listener.wake()

    def _lose(self, error: Exception) -> None:
        log.warning("feed waits for Redis", reason=str(error))
        self._listed_ms, self._joined = self._cursor_ms, -1  # list again what this turn lost

    def _news(self) -> News:
        news = News(self._changed, self._gone, self._cursor_ms)
        self._changed, self._gone = [], []
        return news

    async def _new(self) -> set[str]:
        """Jobs that have come, when it is time to read the list."""
        is_due = monotonic() - self._listed_s > LIST_S or self._joined != self._listener.joined
        return await self._list() if is_due else set()

    async def _list(self) -> set[str]:
        joined, listed_s = self._listener.joined, monotonic()
        listing = await self._state.do(history.jobs_since(self._user, self._listed_ms, NEWEST))
        self._joined, self._listed_s, self._listed_ms = joined, listed_s, listing.at_ms
        return set(listing.job_ids)

    def _see(self, ids: Collection[str], look: JobSnapshots) -> None:
        """Note down what is to be told of these jobs."""
        for job_id in ids:
            view = look.jobs.get(job_id)
            if view is None or view.fields["user"] != self._user:
                self._gone.append(job_id)
                self._forget(job_id)
            elif self._is_new(job_id, view):
                self._changed.append(view)

    def _is_new(self, job_id: str, view: Snapshot) -> bool:
        """Whether there is something to tell of a job; listens to it until it has ended."""
        if (state := view.state) in ENDED:
            self._forget(job_id)
            return True
        if job_id not in self._told:
            self._listen(job_id, keys.run_events(view.fields["request_key"]))
        now = (state, view.version, max(view.ahead, 0))
        before, self._told[job_id] = self._told.get(job_id), now
        return now != before

    def _listen(self, job_id: str, channel: str) -> None:
        self._channel_of[job_id] = channel
        self._jobs_of.setdefault(channel, set()).add(job_id)
        self._listener.add(channel)

    def _forget(self, job_id: str) -> None:
        self._told.pop(job_id, None)
        channel = self._channel_of.pop(job_id, "")
        others = self._jobs_of.get(channel, set())
        others.discard(job_id)
        if channel and not others:
            del self._jobs_of[channel]
            self._listener.drop(channel)


def _ended_before(view: Snapshot | None, at_ms: float) -> bool:
    """Also true for what never waited: it was answered when it was asked for."""
    if view is None or view.state not in ENDED:
        return view is None
    return float(view.fields.get("ended") or 0) < at_ms
