"""What a program is told when something breaks that nobody expected."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from web.jobs.sessions import Event
from web.page.programs.answers import SessionMessages


class Sessions:
    """One event, until it was told how that ended."""

    def __init__(self) -> None:
        self.waiting = {"1": Event(job_id="2" * 32)}

    async def events(self, user: str, session: str) -> Mapping[str, Event]:
        return dict(self.waiting)

    async def remove(self, user: str, session: str, event_id: str) -> None:
        del self.waiting[event_id]


class BrokenWatcher:
    async def get(self, user: str, job_id: str) -> Any:
        raise KeyError("a mistake of ours")


async def test_a_program_is_told_of_a_failure_that_nobody_expected() -> None:
    sessions: Any = Sessions()
    watcher: Any = BrokenWatcher()
    show: Any = None
    messages = SessionMessages(sessions, watcher, "ada", "session", show)

    async with asyncio.timeout(20):
        told = [chunk async for chunk in messages.chunks() if chunk]

    ended = orjson.loads(told[0].removeprefix(b"data: "))
    assert ended["success"] is False and ended["output"]["error"].startswith("the server failed")
