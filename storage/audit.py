"""The audit log: who did what, on which id, from where, and what came of it.

Two append-only streams in the state Redis, which are read as one: what anybody can cause without an
account has a stream of its own, so that it cannot push out what users and admins did. They hold ids
and words of our own alone: no picture, no file name, no secret, and no client's whole address.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol

from storage import keys
from storage.redis.answers import fields, text
from storage.redis.calls import ARRAY, NUMBER, TEXT, Call, command, script
from storage.times import rfc3339

STREAMS = (keys.AUDIT, keys.AUDIT_OF_STRANGERS)
MOST = 1_000_000
"""Events that a stream keeps unless a setting says otherwise: about 200 MB of the state Redis."""
MOST_TRIMMED = 10_000
"""Events that one command removes."""
KEPT_BITS = {4: 24, 6: 48}
"""IP version -> leading bits of an address that are kept: those of a provider's customers, not of
one of them."""


class Actor(Protocol):
    """Who did something: the Identity of a request, or COMMAND_LINE."""

    @property
    def user(self) -> str:
        """The user's name; empty where nobody is known, as of a failed sign-in."""

    @property
    def kind(self) -> str:
        """How the user was identified: `browser`, `account`, `key`, `proxy`, `oidc`, `cli`;
        `system`: nobody, as when what was asked for is done."""

    @property
    def address(self) -> str:
        """The client's whole address, or a network; empty where there is none."""


@dataclass(frozen=True)
class Nobody:
    """An actor who is no user."""

    kind: str
    user: str = ""
    address: str = ""


COMMAND_LINE = Nobody("cli")
"""Whoever may run `pixelmill` on a host of the installation."""
SYSTEM = Nobody("system")


@dataclass(frozen=True)
class Event:
    """One entry of the log."""

    id: str
    """`milliseconds-number`: grows with every event."""
    action: str
    user: str
    kind: str
    target: str
    network: str
    """The network that the client's address is in: a /24 or a /48."""
    outcome: str

    @property
    def at_ms(self) -> int:
        """When it was recorded, by the clock of Redis."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True)
class Filter:
    """Which events are wanted; empty: all."""

    user: str = ""
    action: str = ""
    since_ms: int = 0

    def lets_pass(self, event: Event) -> bool:
        """Whether this event is wanted; `action` may be the beginning of one, as `key`."""
        of_action = f"{event.action}.".startswith(f"{self.action}.") if self.action else True
        return of_action and (not self.user or event.user == self.user)


def record(
    action: str,
    identity: Actor,
    target: str,
    outcome: str,
    *,
    by_stranger: bool = False,
    most: int = MOST,
) -> Call[str]:
    """Append an event; answers its id.

    `action`: what was done, as `key.add`. `target`: the id of what it was done to, or the name of
    an account. `outcome`: `ok`, or the code of the error. `by_stranger`: whether anybody could have
    caused it. `most`: how many events of that kind are kept.
    """
    entry = {
        "action": action,
        "user": identity.user,
        "kind": identity.kind,
        "target": target,
        "network": network_of(identity.address),
        "outcome": outcome,
    }
    values = {"entry": [word for pair in entry.items() for word in pair], "most": most}
    streams = STREAMS[::-1] if by_stranger else STREAMS
    return script("add_audit_event", text, streams, values, kinds=TEXT)


def read(*, before: str = "+", since_ms: int = 0, most: int = 100) -> Call[list[Event]]:
    """Events at or after `since_ms` and before the one with the id `before`, newest first."""
    last = before if before == "+" else f"({before}"
    return _read("XREVRANGE", last, since_ms, most)


def read_on(*, after: str = "", since_ms: int = 0, most: int = 100) -> Call[list[Event]]:
    """Events at or after `since_ms` and after the one with the id `after`, oldest first."""
    first = f"({after}" if after else since_ms
    return _read("XRANGE", first, "+", most)


def trim(stream: str, before_ms: int) -> Call[int]:
    """Remove at most MOST_TRIMMED events of a stream from before this time; answers how many.

    Redis removes whole nodes of about a hundred events, so as many older ones may be left.
    """
    words = ("XTRIM", stream, "MINID", "~", before_ms, "LIMIT", MOST_TRIMMED)
    return command(int, *words, kinds=NUMBER)


def trim_last(stream: str, before_ms: int) -> Call[int]:
    """Remove all its events from before this time: after `trim` has found none, about a hundred."""
    return command(int, "XTRIM", stream, "MINID", "=", before_ms, kinds=NUMBER)


def network_of(address: str) -> str:
    """The /24 or /48 that an address is in; empty for what is no address."""
    try:
        parsed = ip_address(re.split("[%/]", address)[0])
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ip_network((parsed, KEPT_BITS[parsed.version]), strict=False))


def as_json(event: Event) -> dict[str, str]:
    """An event with the names of the API."""
    return {
        "id": event.id,
        "at": rfc3339(event.at_ms),
        "user": event.user,
        "kind": event.kind,
        "action": event.action,
        "target": event.target,
        "network": event.network,
        "outcome": event.outcome,
    }


def _read(command: str, first: str | int, last: str | int, most: int) -> Call[list[Event]]:
    values = {"command": command, "from": first, "to": last, "most": most}
    return script("read_audit", _events, STREAMS, values, kinds=ARRAY)


def _events(answer: Sequence[Any]) -> list[Event]:
    return [_event(text(event_id), fields(entry)) for event_id, entry in answer]


def _event(event_id: str, entry: Mapping[str, str]) -> Event:
    names = ("action", "user", "kind", "target", "network", "outcome")
    return Event(event_id, *(entry.get(name, "") for name in names))
