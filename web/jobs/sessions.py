"""Which jobs the sessions of Gradio's client wait for, as its routes ask for it."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from storage import gradio_sessions
from storage.redis.calls import AsyncRedis
from tasks.message import ErrorRecord
from web.jobs.admission import Busy


@dataclass(frozen=True)
class Event:
    """Something that a session has asked for."""

    job_id: str = ""
    """Empty: it was refused."""
    error: ErrorRecord | None = None
    """Why it was refused."""
    stem: str = "picture"
    """Name of the photo without its ending, for the names of results."""
    wanted: tuple[str, ...] = ()
    """Names of the pictures that were asked for; the first one that there is, is answered."""


class Sessions:
    """The events of all sessions; methods raise StorageDown when Redis does not answer."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def add(self, user: str, session: str, event: Event) -> str:
        """The id of a new event of this session. Raises Busy if it has too many."""
        event_id = secrets.token_hex(16)
        text = orjson.dumps(asdict(event)).decode()
        if not await self._state.do(gradio_sessions.add(user, session, event_id, text)):
            raise Busy(
                "this session waits for too many jobs",
                limit="session",
                value=gradio_sessions.MOST_EVENTS,
                retry_after_s=5,
            )
        return event_id

    async def events(self, user: str, session: str) -> Mapping[str, Event]:
        """All events whose end this session was not told yet, by id."""
        stored = await self._state.do(gradio_sessions.events(user, session))
        return {event_id: _event(text) for event_id, text in stored.items()}

    async def remove(self, user: str, session: str, event_id: str) -> None:
        """Forget an event whose end the session was told."""
        await self._state.do(gradio_sessions.remove(user, session, event_id))


def _event(text: str) -> Event:
    stored = orjson.loads(text)
    return Event(stored["job_id"], stored["error"], stored["stem"], tuple(stored["wanted"]))
