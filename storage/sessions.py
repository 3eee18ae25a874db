"""Sessions: each is one browser that a user has signed in on, until it is ended.

The browser's cookie has a random token, of which only a hash is stored. A session counts as long as
its record is there, its time is not over, and its epoch is that of its account: a new epoch ends
all sessions of a user at once, in every web process.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage import keys
from storage.redis.answers import maybe_text, texts
from storage.redis.calls import ARRAY, MAYBE_TEXT, NUMBER, Call, command, script
from storage.users import Kind, Role, as_role

MOST = 50
"""Sessions of a user at a time; a further sign-in ends the oldest one."""
NOTE_MS = 60_000
"""How often it is noted that a session is used."""
MAX_AGENT = 120
MAX_ID_TOKEN = 6000
"""Characters: it comes back in an address, which servers take up to about 8,000 of."""


@dataclass(frozen=True)
class Life:
    """How long a session may last."""

    idle_s: float
    """Without any request."""
    most_s: float
    """From the sign-in on, whatever happens."""


@dataclass(frozen=True)
class Origin:
    """How and where a session began."""

    kind: Kind
    mode: str
    """Of the installation: in another mode the session does not count."""
    network: str
    """The /24 or /48 network of the client's address."""
    agent: str
    """What the browser calls itself."""
    id_token: str = ""
    """That an OpenID provider gave; too long a one is left out."""


@dataclass(frozen=True)
class Known:
    """A session that counts."""

    user: str
    kind: Kind
    role: Role


@dataclass(frozen=True)
class Session:
    """What a user sees of a session. Times in ms, by the clock of Redis."""

    id: str
    began_ms: float
    seen_ms: float
    """When it was used last, to within NOTE_MS."""
    ends_ms: float
    kind: str
    network: str
    agent: str


def new_token() -> str:
    """256 random bits, as text for a cookie."""
    return secrets.token_urlsafe(32)


def id_of(token: str) -> str:
    """The id of the session that a token belongs to: it can be shown, and opens nothing."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def begin(user: str, token: str, epoch: str, origin: Origin, life: Life) -> Call[bool]:
    """Begin a session; False if the account was changed or disabled since `epoch` was read."""
    session_id = id_of(token)
    fields = asdict(origin) | {"agent": origin.agent[:MAX_AGENT]}
    if not 0 < len(origin.id_token) <= MAX_ID_TOKEN:
        del fields["id_token"]
    values = {
        "id": session_id,
        "epoch": epoch,
        "fields": [word for pair in fields.items() for word in pair],
        "idle_ms": int(life.idle_s * 1000),
        "life_ms": int(life.most_s * 1000),
        "prefix": keys.session(user, ""),
        "most": MOST,
    }
    names = [keys.session(user, session_id), keys.sessions(user), keys.user(user)]
    return script("begin_session", bool, names, values, kinds=NUMBER)


def use(user: str, session_id: str, *, mode: str, life: Life) -> Call[Known | None]:
    """The session, if it still counts; notes that it was used."""
    values = {"mode": mode, "idle_ms": int(life.idle_s * 1000), "note_ms": NOTE_MS}
    names = [keys.session(user, session_id), keys.user(user)]

    def parse(answer: Sequence[Any]) -> Known | None:
        if not answer:
            return None
        kind, role = texts(answer)
        return Known(user, kind, as_role(role))  # type: ignore[arg-type]  # as begun

    return script("use_session", parse, names, values, kinds=ARRAY)


def id_token(user: str, session_id: str) -> Call[str | None]:
    """What the OpenID provider gave when this session began; None if there is nothing."""
    return command(maybe_text, "HGET", keys.session(user, session_id), "id_token", kinds=MAYBE_TEXT)


def of_user(user: str) -> Call[list[Session]]:
    """The sessions of a user, newest first."""
    values = {"prefix": keys.session(user, "")}
    names = [keys.sessions(user), keys.user(user)]
    return script("list_sessions", _sessions, names, values, kinds=ARRAY)


def end(user: str, session_id: str) -> Call[bool]:
    """End a session of this user; False if there is none with this id."""
    return command(bool, "DEL", keys.session(user, session_id), kinds=NUMBER)


def _sessions(answer: Sequence[Any]) -> list[Session]:
    return [_session(texts(words)) for words in answer]


def _session(words: Sequence[str]) -> Session:
    session_id, began, seen, ends, kind, network, agent = words
    return Session(session_id, float(began), float(seen), float(ends), kind, network, agent)
