"""Answers that go on (events, exports) end with the session or the key that asked for them: no
further request comes to refuse."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Scope

from storage.errors import StorageDown
from tasks.errors import JobError
from tasks.loops import AsyncPeriodic
from web.middleware.page_routes import GRADIO

EVERY_S = 2.0
"""How often it is asked whether those who watch may still do so."""
MAX_AGE_S = 30.0
"""A look at all of them that takes longer hangs."""
QUEUE_DATA = f"{GRADIO}queue/data"

Resolve = Callable[[Scope], Awaitable[str]]
"""The user who sends a request; raises JobError if nobody may by what it carries."""


@dataclass(eq=False)
class Stream:
    """A request whose answer goes on until somebody ends it."""

    scope: Scope
    user: str
    task: "asyncio.Task[object]"
    has_ended: bool = False
    """Whether it was ended here, and not by its client."""


def is_stream(path: str) -> bool:
    """Whether this is the path of a stream of events, or of an archive of any length."""
    return path.endswith(("/events", "/export")) or path == QUEUE_DATA


class OpenStreams:
    """The streams of one web process that a session or a key has opened.

    One loop looks at all of them, as a timer and a task for each would double what a stream costs.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._streams: set[Stream] = set()

    async def run(self, scope: Scope, user: str, answer: Awaitable[None]) -> None:
        """Answer a request; ends early if the user may not watch any more."""
        task = asyncio.current_task()
        if task is None:  # never: requests are tasks
            await answer
            return
        stream = Stream(scope, user, task)
        self._streams.add(stream)
        try:
            await answer
        except asyncio.CancelledError:
            if not stream.has_ended:
                raise
            task.uncancel()
        finally:
            self._streams.discard(stream)

    def loop(self) -> AsyncPeriodic:
        """Ends streams whose session or key has ended."""
        return AsyncPeriodic("open streams", self.check, every_s=EVERY_S, max_age_s=MAX_AGE_S)

    async def check(self) -> None:
        """Look at each stream once."""
        for stream in list(self._streams):
            if stream in self._streams and not await self._may_go_on(stream):
                stream.has_ended = True
                stream.task.cancel()

    async def _may_go_on(self, stream: Stream) -> bool:
        try:
            return await self._resolve(stream.scope) == stream.user
        except JobError:
            return False
        except StorageDown:  # nobody can say; the stream itself waits too
            return True
