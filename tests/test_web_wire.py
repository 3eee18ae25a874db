"""Text that cannot be sent to Redis, in one user's requests, shifts no answer of another's."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from stack import API_KEY, Stack

from storage import api_keys, keys
from storage.jobs import claims
from storage.jobs.spec import Spec
from storage.redis.calls import SyncRedis

ODD = "\ud800"
ROUNDS = 6
STRANGER = "key-of-a-stranger"
BODIES = (
    {"model": ODD, "upload": "one"},
    {"model": "noop", "upload": ODD},
    {"model": "noop", "uploads": [ODD, ODD]},
    {"model": "noop", "sha256": ODD * 64, "variant": "original"},
    {"model": "noop", "upload": "one", "params": {ODD: ODD}},
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web process with both Redis and S3, and nobody who works."""
    with Stack(tmp_path_factory.mktemp("web")) as stack:
        stack.start_servers()
        stack.start_web()
        SyncRedis(stack.state).do(api_keys.add(STRANGER, "stranger"))
        yield stack


@pytest.fixture(scope="module")
def jobs(web: Stack) -> list[str]:
    """Ids of jobs of ours that are done, each with a result of its own."""
    link, answers = SyncRedis(web.state), []
    for number in range(8):
        job = f"{number:032x}"
        spec = Spec(f"{number:064x}", "tester", "noop", {}, ["image"], "u", "w", "c")
        result = json.dumps({"objects": {}, "data": {"own": job}})
        claim = claims.claim(
            job,
            spec,
            priority="interactive",
            job_ttl_s=600,
            known_result=result,
        )
        assert link.do(claim).verdict == "hit"
        assert web.state.exists(keys.job(job))
        answers.append(job)
    return answers


async def strange(client: httpx.AsyncClient, url: str) -> None:
    """All the odd requests of a stranger; what they are answered does not matter here."""
    headers = {"Authorization": f"Bearer {STRANGER}", "Content-Type": "application/json"}
    for body in BODIES:
        content = json.dumps(body).encode()  # \ud800 as an escape
        with suppress(httpx.HTTPError):
            await client.post(f"{url}/api/v1/jobs", headers=headers, content=content)
    for path in ("%ed%a0%80", "%00", "%ff", "a%ed%bf%bfb"):
        with suppress(httpx.HTTPError):
            await client.get(f"{url}/api/v1/jobs/{path}", headers=headers)


async def own(client: httpx.AsyncClient, url: str, job: str) -> None:
    """One of our jobs, which must be the one that was asked for."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = await client.get(f"{url}/api/v1/jobs/{job}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == job


async def test_every_answer_is_of_whoever_asked(web: Stack, jobs: list[str]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for _ in range(ROUNDS):
            asked = [own(client, web.url, job) for job in jobs]
            await asyncio.gather(*asked, strange(client, web.url))

    numbers = httpx.get(f"{web.url}/metrics").text
    assert "pixelmill_redis_mismatches_total 0.0" in numbers
