"""What has outlived its use goes, what has not stays: arrays in scratch, objects in S3."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from stack import Stack

from storage import object_keys, scratch
from storage.jobs import claims, endings, recovery
from storage.jobs.endings import End
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import AsyncRedis, SyncRedis
from storage.s3.folder import FolderObjects
from storage.s3.objects import Objects, S3Objects
from tasks import clients
from tasks.settings import settings
from web.limits import STATE_LIMIT_S
from web.maintenance import expired_objects
from workers.scratch_cleanup import remove_leftovers

pytest_plugins = ["inprocess"]

KEY = "k" * 64
OLD_S = 10 * 86_400


# Arrays


@pytest.fixture
def ref(in_process: None, link: SyncRedis) -> RunRef:
    """A run that is under way."""
    spec = Spec(KEY, "ada", "toy", {}, ["alpha"], "upload", "sha256:w", "c")
    claim = link.do(claims.claim("job", spec, priority="batch", job_ttl_s=60))
    return RunRef(KEY, claim.attempt)


def put(n: int, key: str = KEY) -> str:
    name = scratch.name(settings().installation, key[:32], n, "input")
    clients.scratch().put(name, np.zeros(3))
    return name


def is_there(name: str) -> bool:
    try:
        clients.scratch().get(name)
    except FileNotFoundError:
        return False
    return True


def test_the_array_of_a_run_under_way_stays(ref: RunRef) -> None:
    name = put(ref.attempt)

    assert remove_leftovers(-2) == 0
    assert is_there(name)


def test_the_array_of_a_run_that_nobody_knows_goes(ref: RunRef) -> None:
    left = put(1, key="f" * 64)

    assert remove_leftovers(-2) == 1
    assert not is_there(left)


def test_the_array_of_an_earlier_attempt_goes(ref: RunRef, link: SyncRedis) -> None:
    stale = put(ref.attempt)
    [n] = link.do(recovery.requeue([ref], job_ttl_s=60))
    fresh = put(n)

    remove_leftovers(-2)

    assert (is_there(stale), is_there(fresh)) == (False, True)


def test_the_array_of_a_run_that_has_ended_goes(ref: RunRef, link: SyncRedis) -> None:
    left = put(ref.attempt)
    link.do(endings.finish([End(ref, "done", "{}")], job_ttl_s=60))

    remove_leftovers(-2)

    assert not is_there(left)


def test_a_young_array_stays_whoever_it_is_of(ref: RunRef) -> None:
    name = put(1, key="f" * 64)

    assert remove_leftovers() == 0
    assert is_there(name)


# Objects


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, servers: Stack, tmp_path: Path) -> tuple[Objects, Path]:
    """Objects, and the folder their files lie in, whose times can be set back."""
    if request.param == "folder":
        return FolderObjects(tmp_path), tmp_path
    s3: S3Objects = request.getfixturevalue("s3")
    return s3, servers.folder / "s3" / "pixelmill"


@pytest.fixture
async def state_link(in_process: None, state_url: str) -> AsyncIterator[AsyncRedis]:
    made = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    yield made
    await made.close()


def put_objects(store: tuple[Objects, Path], user: str, ages_s: list[float]) -> None:
    """An upload and a result of each age, and nothing else of that user's."""
    objects, root = store
    for prefix in ("in/", "out/"):
        for key in left(objects, prefix, user):
            objects.delete(key)
    times: dict[str, float] = {}
    for number, age_s in enumerate(ages_s):
        for key in (
            object_keys.upload_object(user, f"{number:04}"),
            f"{object_keys.result_folder(user, f'{number:04}')}preview.png",
        ):
            objects.put(key, b"bytes", "image/png")
            at = time.time() - age_s
            os.utime(root / key, (at, at))
            times[key] = at
    wait_until_seen(objects, times)


def wait_until_seen(objects: Objects, written: dict[str, float]) -> None:
    """rclone looks anew for what others changed after a second."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pages = [*objects.page("in/", "", 1000), *objects.page("out/", "", 1000)]
        seen = {item.key: item.modified_s for item in pages}
        if all(abs(seen.get(key, 0) - at) < 2 for key, at in written.items()):
            return
        time.sleep(0.1)
    raise TimeoutError("the objects' times were not seen")


def left(objects: Objects, prefix: str, user: str) -> list[str]:
    return [item.key for item in objects.page(f"{prefix}{user}/", "", 1000)]


async def delete_expired(store: tuple[Objects, Path], link: AsyncRedis) -> None:
    await expired_objects.delete_next_pages(link, store[0], time.time())


async def test_old_objects_go_and_young_ones_stay(
    store: tuple[Objects, Path], state_link: AsyncRedis
) -> None:
    put_objects(store, "ada", [OLD_S, 60])

    await delete_expired(store, state_link)

    assert left(store[0], "in/", "ada") == ["in/ada/0001"]
    assert left(store[0], "out/", "ada") == ["out/ada/0001/preview.png"]


async def test_an_upload_stays_while_a_job_waits_for_it_or_has_it_as_background(
    store: tuple[Objects, Path], state_link: AsyncRedis, link: SyncRedis
) -> None:
    objects, root = store
    photo, ground, unused = ("a" * 32, "b" * 32, "c" * 32)
    for upload_id in (photo, ground, unused):
        key = object_keys.upload_object("zoe", upload_id)
        objects.put(key, b"bytes", "image/png")
        os.utime(root / key, (time.time() - OLD_S,) * 2)
    wait_until_seen(objects, {object_keys.upload_object("zoe", unused): time.time() - OLD_S})
    spec = Spec(KEY, "zoe", "toy", {"background": ground}, ["alpha"], photo, "sha256:w", "c")
    claim = link.do(claims.claim("job", spec, priority="batch", job_ttl_s=60))

    await delete_expired(store, state_link)
    meanwhile = left(objects, "in/", "zoe")
    link.do(endings.finish([End(RunRef(KEY, claim.attempt), "done", "{}")], job_ttl_s=60))
    await delete_expired(store, state_link)

    assert meanwhile == [
        object_keys.upload_object("zoe", photo),
        object_keys.upload_object("zoe", ground),
    ]
    assert left(objects, "in/", "zoe") == []


async def test_an_upload_is_kept_for_a_day(
    store: tuple[Objects, Path], state_link: AsyncRedis
) -> None:
    put_objects(store, "eve", [23 * 3600, 25 * 3600])

    await delete_expired(store, state_link)

    assert left(store[0], "in/", "eve") == ["in/eve/0000"]


async def test_results_live_longer_than_uploads(
    store: tuple[Objects, Path], state_link: AsyncRedis
) -> None:
    put_objects(store, "bob", [3 * 86_400])

    await delete_expired(store, state_link)

    assert left(store[0], "in/", "bob") == []
    assert left(store[0], "out/", "bob") == ["out/bob/0000/preview.png"]


async def test_the_key_of_a_result_says_how_old_it_is_where_its_date_does_not(
    store: tuple[Objects, Path], state_link: AsyncRedis
) -> None:
    put_objects(store, "eve", [])
    now_s, dates = time.time(), {}
    for made_ago_s, dated_ago_s in [(60, OLD_S), (OLD_S, 60), (OLD_S, OLD_S), (-OLD_S, OLD_S)]:
        key = f"{object_keys.edition_folder('eve', 'k', int(now_s - made_ago_s))}preview.png"
        store[0].put(key, b"bytes", "image/png")
        dates[key] = now_s - dated_ago_s
        os.utime(store[1] / key, (dates[key], dates[key]))
    wait_until_seen(store[0], dates)

    await delete_expired(store, state_link)

    copy, of_a_slow_clock, *_ = dates
    assert left(store[0], "out/", "eve") == sorted([copy, of_a_slow_clock])


async def test_results_live_as_long_as_the_setting_says(
    store: tuple[Objects, Path], state_link: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_RESULT_TTL_S", str(11 * 86_400))
    settings.cache_clear()
    put_objects(store, "bob", [10.5 * 86_400, 11.5 * 86_400])

    await delete_expired(store, state_link)

    assert left(store[0], "out/", "bob") == ["out/bob/0000/preview.png"]


async def test_weights_are_never_deleted(
    store: tuple[Objects, Path], state_link: AsyncRedis
) -> None:
    objects, root = store
    key = object_keys.weights_object("f" * 64, "fast.safetensors")
    objects.put(key, b"weights", "application/octet-stream")
    os.utime(root / key, (1, 1))

    await delete_expired(store, state_link)

    assert objects.get(key) == b"weights"


async def test_a_turn_lists_one_page_and_the_next_goes_on_there(
    store: tuple[Objects, Path], state_link: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_objects, "PAGE", 2)
    for other in store[0].page("in/", "", 1000):
        store[0].delete(other.key)
    put_objects(store, "eve", [0, 0, 0, 0, OLD_S])

    counts = []
    for _ in range(4):
        await delete_expired(store, state_link)
        counts.append(len(left(store[0], "in/", "eve")))

    assert counts == [5, 5, 4, 4], "the old one is on the third page"


async def test_what_is_too_much_for_one_turn_goes_in_the_next(
    store: tuple[Objects, Path], state_link: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_objects, "PAGE", 2)
    monkeypatch.setattr(expired_objects, "PAGES", 2)
    for other in store[0].page("in/", "", 1000):
        store[0].delete(other.key)
    put_objects(store, "eve", [OLD_S] * 7)

    counts = []
    for _ in range(2):
        await delete_expired(store, state_link)
        counts.append(len(left(store[0], "in/", "eve")))

    assert counts == [3, 0]


async def test_one_process_at_a_time_deletes_expired_objects(state_link: AsyncRedis) -> None:
    assert [await expired_objects._is_our_turn(state_link) for _ in range(2)] == [True, False]
