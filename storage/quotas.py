"""Quotas: what one payer may use of images and bytes, and what has been used of that.

A payer is a user, or in open mode a client's address. Windows are fixed: an hour or a day begins
with the first use after the last one has ended. So it is certain when a window ends, but around
that moment twice the quota can be used. What is stored is counted by when it expires, as objects
disappear without telling anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from storage import quota_keys
from storage.quota_kinds import NAMES, UNLIMITED, WINDOW_QUOTAS, WINDOWS_MS, Name
from storage.redis.answers import fields
from storage.redis.calls import ARRAY, FIELDS, NUMBER, Call, command, script

WINDOWS_S: Mapping[str, int] = {
    quota["name"]: WINDOWS_MS[quota["window"]] // 1000 for quota in WINDOW_QUOTAS
}
"""How long the window of a quota is, of those that have one."""

Quotas = Mapping[Name, int]
"""The most of each; UNLIMITED for no limit."""
NO_QUOTAS: Quotas = dict.fromkeys(NAMES, UNLIMITED)


@dataclass(frozen=True)
class Allowance:
    """One quota of a payer, and what is left of it."""

    name: Name
    most: int
    """UNLIMITED for no limit."""
    used: int
    left_ms: float
    """Until its window ends, or until the first of what is stored expires; 0 where nothing is used
    or it has no window."""

    @property
    def left(self) -> int:
        """What may still be used; 0 without a limit."""
        return max(self.most - self.used, 0)

    @property
    def window_s(self) -> int:
        """Seconds; 0: it has none."""
        return WINDOWS_S.get(self.name, 0)

    @property
    def resets_in_s(self) -> int:
        """Seconds, rounded up, until its window ends."""
        return ceil(self.left_ms / 1000)


@dataclass(frozen=True)
class Exceeded:
    """The quota that a use would exceed, where it stands, and in how many ms that will change."""

    limit: Name
    value: float
    most: float
    room_in_ms: float


@dataclass(frozen=True)
class Used:
    """A use that was counted: when (Redis time in ms), and what is left of each quota."""

    at_ms: float
    left: Sequence[Allowance]


@dataclass(frozen=True)
class Use:
    """What a payer is about to use."""

    payer: str
    defaults: Quotas
    images: int = 0
    bytes: int = 0
    stored_ttl_s: int = 0
    """How long the bytes are stored."""

    def arguments(self) -> dict[str, Any]:
        """As shared_lua/quotas.lua takes them."""
        return {
            "payer": self.payer,
            "quotas": self.defaults,
            "images": self.images,
            "bytes": self.bytes,
            "stored_ttl_ms": self.stored_ttl_s * 1000,
        }


def use(use: Use) -> Call[Exceeded | Used]:
    """Use it, unless that would exceed a quota; answers what is left, or what is exceeded."""

    def parse(answer: Sequence[Any]) -> Exceeded | Used:
        limit, *rest = answer
        if not limit:
            return Used(float(rest[0]), allowances(rest[1:]))
        value, most, room_in_ms = map(float, rest)
        return Exceeded(limit.decode(), value, most, room_in_ms)

    return script("use_quota", parse, [], use.arguments(), kinds=ARRAY)


def give_back(use: Use, at_ms: float) -> Call[int]:
    """Count no longer what was used at that time, and then could not be stored."""
    values = {**use.arguments(), "used_at_ms": at_ms}
    return script("give_quota_back", int, [], values, kinds=NUMBER)


def read(payer: str, defaults: Quotas) -> Call[list[Allowance]]:
    """All quotas of a payer."""
    values = Use(payer, defaults).arguments()
    return script("read_quotas", allowances, [], values, kinds=ARRAY)


def allowances(answer: Sequence[Any]) -> list[Allowance]:
    """What shared_lua/quotas.lua answers: three numbers for each of NAMES."""
    numbers = [float(number) for number in answer]
    thirds = zip(NAMES, numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return [Allowance(name, int(most), int(used), left_ms) for name, most, used, left_ms in thirds]


def own(payer: str) -> Call[dict[str, int]]:
    """The quotas that were set for this payer alone."""

    def parse(answer: Any) -> dict[str, int]:
        return {name: int(value) for name, value in fields(answer).items()}

    return command(parse, "HGETALL", quota_keys.quota(payer), kinds=FIELDS)


def set_own(payer: str, name: Name, most: int) -> Call[int]:
    """Let this payer alone use so much; UNLIMITED for no limit."""
    return command(int, "HSET", quota_keys.quota(payer), name, most, kinds=NUMBER)


def unset_own(payer: str, name: Name) -> Call[int]:
    """Let the default hold for this payer again."""
    return command(int, "HDEL", quota_keys.quota(payer), name, kinds=NUMBER)
