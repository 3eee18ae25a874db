"""What web processes check of a volume, and limits of one model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from job_service import CARD

from storage import catalogue
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput, Unavailable
from tasks.settings import MIB, Settings, settings
from web.jobs.admission import Busy
from web.jobs.service import JobService
from web.jobs.submission import Photo, Submission

pytest_plugins = ["job_service"]

Announce = Callable[..., None]


@pytest.fixture
def announce(link: SyncRedis) -> Announce:
    """Workers of which the gpu worker serves `toy`, here a model of volumes."""

    def announced(room_mib: float = 0) -> None:
        scratch = {"used": MIB, "most": int(room_mib * MIB)}
        link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"], "scratch": scratch}, {}))
        card: Any = {**CARD, "input": "volume", "title": "Toy"}
        link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": card}))

    return announced


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets PIXELMILL_MODEL_LIMITS."""

    def set_to(text: str) -> None:
        monkeypatch.setenv("PIXELMILL_MODEL_LIMITS", text)
        settings.cache_clear()

    return set_to


def volume(size: int) -> Photo:
    return Photo("0" * 32, size, upload="0" * 32, media_type="image/png")


async def test_the_run_above_a_models_limit_is_refused_with_retry_after_if_it_shall_not_wait(
    announce: Announce, service: JobService, submission: Submission, limit: Callable[[str], None]
) -> None:
    announce()
    limit("toy:at_a_time=1,when_full=refuse")
    await service.submit(submission)

    with pytest.raises(Busy, match="1 runs of this model are in progress; the limit is 1") as busy:
        await service.submit(replace(submission, params={"gain": 2}))

    assert (busy.value.limit, busy.value.status) == ("at_a_time", 429)
    assert busy.value.retry_after_s >= 1


async def test_a_volume_that_memory_has_no_room_for_at_present_is_told_to_come_again(
    announce: Announce, service: JobService, submission: Submission
) -> None:
    announce(room_mib=9)
    await service.catalogue.get()

    with pytest.raises(Unavailable, match="9 MiB of memory for arrays are in use or needed"):
        await service.submit(replace(submission, photo=volume(2 * MIB)))


async def test_a_volume_that_memory_will_never_have_room_for_is_too_large(
    announce: Announce, service: JobService, submission: Submission
) -> None:
    announce(room_mib=8)
    await service.catalogue.get()

    with pytest.raises(BadInput, match="needs 8 MiB of memory for arrays; there are 8") as caught:
        await service.submit(replace(submission, photo=volume(2 * MIB)))

    assert caught.value.status == 413


async def test_a_model_has_an_upload_limit_of_its_own(
    announce: Announce, service: JobService, submission: Submission, limit: Callable[[str], None]
) -> None:
    announce()
    limit("toy:upload_mib=0.5")

    with pytest.raises(BadInput, match=r"larger than 0.5 MiB") as caught:
        await service.submit(replace(submission, photo=volume(MIB)))

    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lungct", "has no colon"),
        ("lungct:at_once=3", "no limit 'at_once' of a model; there are: at_a_time, seconds"),
        ("lungct:seconds=-1", "expected a number above 0"),
        ("lungct:at_a_time=1.5", "expected a number above 0"),
        ("lungct:when_full=cry", "expected wait or refuse"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Settings(model_limits=text)
