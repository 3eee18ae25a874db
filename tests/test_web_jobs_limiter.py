"""A web process refuses requests for work above what it can have in progress."""

import asyncio

import pytest

from tasks.errors import Unavailable
from web.jobs.service import JobService
from web.jobs.submission import Submission

pytest_plugins = ["job_service"]


async def test_too_many_new_submissions_at_once_are_refused_at_once(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_NEW_IN_PROGRESS", 3)

    answers = await asyncio.gather(
        *(service.submit(submission) for _ in range(10)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert 1 <= len(refused) <= 7 and {answer.status for answer in refused} == {429}
    assert (await service.submit(submission)).state == "queued", "there is room again"


async def test_requests_are_refused_while_too_many_wait_for_this_process(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_IN_PROGRESS", 2)
    waiting = [asyncio.create_task(service.submit(submission)) for _ in range(2)]

    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 requests") as refused:
        service.limiter.check()
    await asyncio.gather(*waiting)

    assert refused.value.status == 429
    service.limiter.check()


async def test_bytes_on_their_way_to_s3_keep_no_other_request_out(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_IN_PROGRESS", 1)
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def slow_put(*_: object) -> None:
        sending.set()
        await go_on.wait()

    monkeypatch.setattr(service.uploads, "store", slow_put)
    first = asyncio.create_task(service.submit(submission))
    await asyncio.wait_for(sending.wait(), 5)

    service.limiter.check()

    go_on.set()
    assert (await first).state == "queued"
