"""What users have and do, for admins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.redis.answers import text
from storage.redis.calls import ARRAY, Call, script

MOST = 500
"""Users that are looked at: of many thousands, one script cannot tell who has most."""


@dataclass(frozen=True)
class Usage:
    """What one user has and does."""

    name: str
    role: str
    """Empty for a user without a record, as visitors of open mode are."""
    jobs: int
    in_progress: int
    images_today: int
    """This and the next of the day of their quota, which begins with their first image."""
    bytes_today: int
    stored_bytes: int


@dataclass(frozen=True)
class RecentUsers:
    """Some of the users who have jobs."""

    total: int
    users: Sequence[Usage]


def read() -> Call[RecentUsers]:
    """The MOST users whose histories are youngest, those with most jobs first."""

    def parse(answer: Sequence[Any]) -> RecentUsers:
        total, *rows = answer
        users = [_usage(row) for row in rows]
        return RecentUsers(int(total), sorted(users, key=lambda user: -user.jobs))

    return script("recent_users", parse, [], {"most": MOST}, kinds=ARRAY)


def _usage(row: Sequence[Any]) -> Usage:
    name, role, *numbers = row
    return Usage(text(name), text(role), *(int(float(number)) for number in numbers))
