"""Puts messages of the broker into its queues."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.jobs.spec import RunRef
from storage.redis.calls import NUMBER, Call, script


@dataclass(frozen=True)
class EncodedMessage:
    """A message of the broker, ready to be queued."""

    queue: str
    """The Redis list that it goes into."""
    text: bytes


def enqueue(messages: Sequence[EncodedMessage]) -> Call[int]:
    """Queue all of these messages or none; answers how many they are."""
    lists = [message.queue for message in messages]
    texts = [message.text.decode() for message in messages]
    return script("jobs/enqueue", int, lists, {"messages": texts}, kinds=NUMBER)


def enqueue_claimed(message: EncodedMessage, refs: Sequence[RunRef]) -> Call[int]:
    """Queue the message of runs that were just claimed.

    Answers how many messages its list has now, this one included; 0 if all of the runs are stale or
    were queued before.

    Until it is queued, a run belongs to the process of the job that started it, which may still be
    bringing the bytes, for as long as the lease lasts.
    """
    values = {"message": message.text, "runs": refs}
    return script("jobs/enqueue_claimed", int, [message.queue], values, kinds=NUMBER)
