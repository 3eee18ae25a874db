"""The audit log, as routes write and read it."""

from collections.abc import AsyncGenerator, Sequence
from typing import cast

import structlog
from starlette.requests import Request

from storage import audit
from storage.audit import Actor
from storage.audit import Event as Event  # routes name these by this module
from storage.audit import Filter as Filter
from storage.audit import as_json as as_json
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from tasks.settings import settings
from web.names import VISITOR

PAGE = 250
"""Events that are read at a time."""
MOST_PAGES = 20
"""Pages in which one request looks for events that its filter lets pass."""
STRANGERS_PART = 5
"""Of strangers, one event is kept for so many of users."""

log = structlog.get_logger()


class AuditLog:
    """The audit log of the installation."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def record(self, action: str, actor: Actor, target: str, outcome: str = "ok") -> None:
        """Append an event. What was done stays done where this fails, and the process's own log
        then has the event."""
        by_stranger = _is_stranger(actor)
        most = settings().audit_events // (STRANGERS_PART if by_stranger else 1)
        call = audit.record(action, actor, target, outcome, by_stranger=by_stranger, most=most)
        try:
            await self._state.do(call)
        except StorageDown as error:
            log.error("audit event not recorded", action=action, target=target, reason=str(error))

    async def page(self, wanted: Filter, before: str, most: int) -> tuple[Sequence[Event], str]:
        """At most `most` events before the id `before` ('': the newest), newest first, and where
        the next page begins ('' after the last). A page may have fewer and not be the last."""
        found: list[Event] = []
        for _ in range(MOST_PAGES):
            call = audit.read(before=before or "+", since_ms=wanted.since_ms, most=PAGE)
            events = await self._state.do(call)
            for event in events:
                if wanted.lets_pass(event):
                    found.append(event)
                if len(found) == most:
                    return found, event.id
            if len(events) < PAGE:
                return found, ""
            before = events[-1].id
        return found, before

    async def everything(self, wanted: Filter) -> AsyncGenerator[Sequence[Event], None]:
        """All events that are wanted, oldest first, a page at a time; pages may be empty."""
        after = ""
        while events := await self._state.do(
            audit.read_on(after=after, since_ms=wanted.since_ms, most=PAGE)
        ):
            yield [event for event in events if wanted.lets_pass(event)]
            after = events[-1].id


def _is_stranger(actor: Actor) -> bool:
    """Whether anybody can do what this actor does: visitors of open mode, and who is not known."""
    if actor.user:
        return VISITOR.fullmatch(actor.user) is not None
    return actor.kind not in (audit.COMMAND_LINE.kind, audit.SYSTEM.kind)


def audit_of(request: Request) -> AuditLog:
    """The audit log of the app that serves this request."""
    return cast(AuditLog, request.app.state.audit)
