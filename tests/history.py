"""A long history of one user: jobs as claims write them, many at a time."""

import secrets

import redis
from runs import RESULT

from storage import calls, records
from storage.records import Spec

AT_ONCE = 1_000


def build(state: "redis.Redis", user: str, count: int, job_ttl_s: int = 86_400) -> list[str]:
    """`count` jobs of this user, each of an image of its own, that were answered by a known result.

    Their ids, oldest first.
    """
    job_ids = [secrets.token_hex(16) for _ in range(count)]
    for start in range(0, count, AT_ONCE):
        pipeline = state.pipeline(transaction=False)
        for job_id in job_ids[start : start + AT_ONCE]:
            key, upload = secrets.token_hex(32), secrets.token_hex(16)
            spec = Spec(key, user, "toy", {}, ["alpha"], upload, "sha256:w", "sha256:c")
            call = records.claim(
                job_id,
                spec,
                lane="interactive",
                job_ttl_s=job_ttl_s,
                known_result=RESULT,
                fields={"id": job_id},
            )
            source, sha = calls._source(call.script)
            if pipeline.command_stack:
                pipeline.execute_command("EVALSHA", sha, *call.words)
            else:
                pipeline.execute_command("EVAL", source, *call.words)
        pipeline.execute()
    return job_ids
