"""Links to single pictures in the state Redis: whose they are, what they show, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.redis.answers import fields, text
from storage.redis.calls import ARRAY, FIELDS, NUMBER, TEXT, Call, command, script

MOST = 100
"""Links of one user that work at a time."""


@dataclass(frozen=True)
class Share:
    """A link to one picture."""

    id: str
    """32 hex digits. Whoever has the link needs more: web/jobs/shares.py."""
    user: str
    job: str
    object: str
    """Name of the picture in the job's result."""
    key: str
    """Its key in S3."""
    type: str
    """Media type."""
    expires_ms: int
    """Since 1970, by the clock of Redis."""
    created_ms: int = 0


def add(share: Share) -> Call[str]:
    """Make this link. Answers `ok`, `too_many` if the user has MOST, or `no_job` if the job is not
    the user's, or no longer."""
    record = {
        "id": share.id,
        "user": share.user,
        "job": share.job,
        "object": share.object,
        "key": share.key,
        "type": share.type,
    }
    values = {
        "share_id": share.id, "record": record, "expires_ms": share.expires_ms, "most": MOST
    }  # fmt: skip
    names = [keys.share(share.id), keys.user_shares(share.user)]
    return script("add_share", text, names, values, kinds=TEXT)


def read(share_id: str) -> Call[Share | None]:
    """The link, if it still works."""
    return command(_maybe_share, "HGETALL", keys.share(share_id), kinds=FIELDS)


def of_user(user: str) -> Call[list[Share]]:
    """The links of this user that still work, the last to expire first."""
    return script("list_shares", _shares, [keys.user_shares(user)], {}, kinds=ARRAY)


def revoke(user: str, *, share_id: str = "", job: str = "") -> Call[int]:
    """End the links of this user with this id or of this job; answers how many there were."""
    values = {"share_id": share_id, "job": job}
    return script("revoke_shares", int, [keys.user_shares(user)], values, kinds=NUMBER)


def _shares(answer: Sequence[Any]) -> list[Share]:
    return [_share(fields(record)) for record in answer]


def _maybe_share(answer: Any) -> Share | None:
    record = fields(answer)
    return _share(record) if record else None


def _share(record: Mapping[str, str]) -> Share:
    share_id, user, job, name, key, kind = (
        record[field] for field in ("id", "user", "job", "object", "key", "type")
    )
    times = int(record["expires"]), int(record["created"])
    return Share(share_id, user, job, name, key, kind, *times)
