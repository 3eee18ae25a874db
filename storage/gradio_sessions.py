"""Sessions of Gradio's client: what each has asked for, until it was told how that ended.

They are in Redis and not in a process: the request that starts a job and the stream that tells of
it may reach different web processes.
"""

from collections.abc import Mapping

from storage import keys
from storage.redis.answers import fields
from storage.redis.calls import FIELDS, NUMBER, Call, command, script

MOST_EVENTS = 100
"""Of one session, at a time."""
TTL_S = 24 * 3600
"""As long as the longest job may take."""


def add(user: str, session: str, event_id: str, event: str) -> Call[bool]:
    """Note an event; False if the session has too many already."""
    values = {"event_id": event_id, "event": event, "most": MOST_EVENTS, "ttl_s": TTL_S}
    names = [keys.session_events(user, session)]
    return script("add_event", bool, names, values, kinds=NUMBER)


def events(user: str, session: str) -> Call[Mapping[str, str]]:
    """Event id -> event, of all that this session waits for."""
    return command(fields, "HGETALL", keys.session_events(user, session), kinds=FIELDS)


def remove(user: str, session: str, event_id: str) -> Call[int]:
    """Forget an event: the session was told how it ended."""
    return command(int, "HDEL", keys.session_events(user, session), event_id, kinds=NUMBER)
