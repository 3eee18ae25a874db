"""Many jobs, written by the calls that web processes make, and how long Redis takes for a call."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import redis

from storage.jobs import claims
from storage.jobs.spec import Spec
from storage.redis.calls import Call
from storage.redis.scripts import source

RESULT = '{"kind":"labels","width":8,"height":8,"objects":{},"data":{}}'
JOB_TTL_S = 3600
AT_ONCE = 500


def request_key(number: int, user: str = "ada") -> str:
    """Of the request of its own that a job has."""
    return f"{user}-{number:08x}".ljust(64, "0")


def claim(
    number: int, *, user: str = "ada", key: str = "", known: str = RESULT, most_jobs: int = 2**31
) -> Call[Any]:
    """The claim of job `number` of a user: of a request of its own unless `key` names one."""
    job_id = f"{number:032x}"
    spec = Spec(key or request_key(number, user), user, "toy", {}, ["alpha"],
                f"{number:032x}", "sha256:w", "sha256:c")  # fmt: skip
    return claims.claim(
        job_id,
        spec,
        priority="batch",
        job_ttl_s=JOB_TTL_S,
        known_result=known,
        most_jobs=most_jobs,
    )


def do_all(client: "redis.Redis", calls: Iterable[Call[Any]]) -> list[Any]:
    """Do calls of scripts, some hundred a round trip; their parsed answers."""
    answers: list[Any] = []
    left = iter(calls)
    while some := list(islice(left, AT_ONCE)):  # itertools.batched is of Python 3.12
        pipeline = client.pipeline(transaction=False)
        for name in {call.script for call in some}:
            client.script_load(source(name)[0])
        for call in some:
            pipeline.execute_command("EVALSHA", source(call.script)[1], *call.words)
        answers += [
            call.parse(answer) for call, answer in zip(some, pipeline.execute(), strict=True)
        ]
    return answers


class Timed:
    """How long calls take inside Redis, by its own slow log."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        client.config_set("slowlog-log-slower-than", 0)
        client.config_set("slowlog-max-len", 1000)

    def ms(self, call: Call[Any]) -> tuple[float, Any]:
        """Milliseconds of one call, and its parsed answer."""
        text, sha = source(call.script)
        self._client.script_load(text)
        self._client.slowlog_reset()
        answer = self._client.execute_command("EVALSHA", sha, *call.words)
        took_us = max(
            entry["duration"]
            for entry in self._client.slowlog_get(10)
            if entry["command"].startswith(b"EVALSHA")
        )
        return took_us / 1000, call.parse(answer)

    def close(self) -> None:
        """Leave the log as it is by default."""
        self._client.config_set("slowlog-log-slower-than", 10_000)
        self._client.slowlog_reset()
