"""What the system page shows: everything together, read at most once in a few seconds."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request

from storage import pilot, pilot_log, recent_users
from storage.catalogue import Catalogue
from storage.catalogue import ModelCard as ModelCard  # these for those who import no storage
from storage.catalogue import ProfileCard as ProfileCard
from storage.catalogue import WorkerInfo as WorkerInfo
from storage.jobs import minutes
from storage.jobs.minutes import Minute as Minute
from storage.jobs.stats import Group as Group
from storage.jobs.stats import Stats
from storage.pilot import Orders
from storage.pilot import View as View
from storage.pilot_log import Decision as Decision
from storage.recent_users import RecentUsers as RecentUsers
from storage.redis.calls import AsyncRedis, Call
from web.jobs import room
from web.jobs.service import JobService
from web.jobs.stats import StatsReader
from web.short_cache import ShortCache

KEPT_S = 3.0
"""However many admins look, and however often: Redis is asked once in this time."""
LOOK_S = 3600.0
"""An admin's looks within this time are one event of the audit log."""


@dataclass(frozen=True)
class Fill:
    """How full something is, in bytes; `most` is 0 for no limit."""

    used: int
    most: int


@dataclass(frozen=True)
class System:
    """The installation at one moment."""

    catalogue: Catalogue
    stats: Stats
    minutes: Mapping[str, Sequence[Minute]]
    """Of each model, oldest first."""
    state_memory: Fill
    scratch: Fill
    disk: Fill | None
    """Of the servers' data on this machine; None if they are elsewhere."""
    refusals: Sequence[str]
    """Why new work is refused now."""
    views: Mapping[str, View]
    """Model -> what the pilot saw last."""
    orders: Orders
    """What it has ordered."""


class SystemReader:
    """Reads it from the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis, service: JobService) -> None:
        self._state, self._service = state, service
        self._stats = StatsReader(state)
        self._kept: ShortCache[System] = ShortCache()
        self._users: ShortCache[RecentUsers] = ShortCache()
        self._looks: ShortCache[bool] = ShortCache()

    async def read(self) -> System:
        """All but what is about users."""
        if kept := self._kept.get(""):
            return kept[0]
        catalogue = await self._service.catalogue.get()
        system = System(
            catalogue,
            await self._stats.read(),
            await self._state.do(minutes.read()),
            Fill(*await self._state.do(room.memory())),
            Fill(*self._service.catalogue.scratch),
            _disk(),
            [str(reason) for reason in await self._service.room.reasons()],
            await self._state.do(pilot.views()),
            await self._state.do(pilot.orders()),
        )
        return self._kept.keep("", system, KEPT_S)

    async def users(self) -> RecentUsers:
        """Who has jobs, and how many."""
        if kept := self._users.get(""):
            return kept[0]
        return self._users.keep("", await self._state.do(recent_users.read()), KEPT_S)

    async def decisions(self, most: int, before: str = "+") -> list[Decision]:
        """The newest decisions of the pilot before this one."""
        return await self._state.do(pilot_log.read(before=before, most=most))

    async def tell_pilot(self, calls: Sequence[Call[Any]]) -> None:
        """Do what web/pilot/by_hand.py says, and show it at once."""
        for call in calls:
            await self._state.do(call)
        self._kept = ShortCache()

    def is_first_look(self, user: str) -> bool:
        """Whether this user did not look within LOOK_S: the page refreshes itself all the time."""
        if self._looks.get(user):
            return False
        return self._looks.keep(user, True, LOOK_S)


def system_of(request: Request) -> SystemReader:
    """The reader of the app that serves this request."""
    return cast(SystemReader, request.app.state.system)


def _disk() -> Fill | None:
    """The disk with the least room."""
    found = []
    for folder in room.folders():
        with suppress(OSError):
            found.append(shutil.disk_usage(folder))
    fullest = min(found, key=lambda usage: usage.free, default=None)
    return Fill(fullest.used, fullest.total) if fullest else None
