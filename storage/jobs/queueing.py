"""Messages of the broker, as scripts queue them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from storage import keys
from storage.redis.calls import NUMBER, Call, command, script

TICKET_ID = "TICKET_ID"
"""Where the id of a ticket goes in its message."""


@dataclass(frozen=True)
class EncodedMessage:
    """A message of the broker, ready to be queued."""

    queue: str
    """The Redis list that it goes into."""
    text: bytes


Tickets = Mapping[str, EncodedMessage]
"""Priority -> the message that calls a cpu worker to its backlog, with TICKET_ID for its id."""

NO_TICKETS: Tickets = MappingProxyType({})
"""Nobody is called: the reaper does so within a second."""


def of_tickets(tickets: Tickets) -> dict[str, Any]:
    """The arguments of every script that may queue a ticket: see shared_lua/tickets.lua."""
    if not tickets:
        return {}
    texts = {f"ticket_{priority}": ticket.text for priority, ticket in tickets.items()}
    return {"ticket_lists": {name: ticket.queue for name, ticket in tickets.items()}, **texts}


def enqueue(messages: Sequence[EncodedMessage]) -> Call[int]:
    """Queue all of these messages or none; answers how many they are."""
    lists = [message.queue for message in messages]
    texts = [message.text.decode() for message in messages]
    return script("jobs/enqueue", int, lists, {"messages": texts}, kinds=NUMBER)


def drop(queues: Sequence[str]) -> Call[int]:
    """Delete all messages of these queues of the broker; answers how many lists had some."""
    steps = keys.CELERY_PRIORITIES
    lists = [keys.queue(name, step) for name in queues for step in steps]
    return command(int, "DEL", *lists, kinds=NUMBER)
