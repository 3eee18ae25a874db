"""Results of earlier work, on real Redis and S3: found again, shared by equal bytes, copied."""

import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image
from stack import MODEL_PATHS, Stack

from storage import keys, object_keys
from storage.jobs.endings import End
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import AsyncRedis
from storage.s3.objects import S3Objects
from tasks import clients, postprocess, preprocess, results
from tasks.models import registry, weights
from tasks.settings import settings
from tasks.work import Work
from web.limits import STATE_LIMIT_S
from web.maintenance import expired_objects

pytest_plugins = ["inprocess"]

HOUR_MS = 3_600_000
DAY_S = 86_400


@pytest.fixture(autouse=True)
def _toy(in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the toy model and has looked at no cache yet."""
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", MODEL_PATHS)
    settings.cache_clear()
    monkeypatch.setattr(results, "_checked", (-results.CHECK_EVERY_S, False))


@pytest.fixture
def cache(cache_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(cache_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def picture() -> bytes:
    """A photo that nobody has sent before."""
    out = io.BytesIO()
    colours = np.random.default_rng(time.time_ns()).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(colours).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def ask(s3: S3Objects, picture: bytes) -> Callable[..., Work]:
    """A claimed run of the toy on the picture, uploaded by `user` as `upload`."""

    def asked(user: str, upload: str, data: bytes = picture, **changes: object) -> Work:
        s3.put(object_keys.upload_object(user, upload), data, "image/png")
        key = hashlib.sha256(f"{user}{upload}{time.time_ns()}".encode()).hexdigest()
        spec = Spec(
            key, user, "toy", {"gain": 2.0}, ["preview"], upload,
            weights.digest(registry.get("toy")), registry.code_digest("toy"),
        )  # fmt: skip
        return Work(RunRef(key, 1), replace(spec, **changes))  # type: ignore[arg-type]  # any field

    return asked


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], dict[str, object] | None]:
    """Does a run as the three stages do; None if it was answered without the device."""

    def compute(work: Work) -> dict[str, object] | None:
        if prepare(work):
            return None
        arrays = clients.scratch()
        arrays.put(work.scratch("output"), arrays.get(work.scratch("input")))
        result: dict[str, object] = json.loads(conclude(work))
        monkeypatch.setattr(
            results, "_checked", (-results.CHECK_EVERY_S, False)
        )  # as if a second later
        return result

    return compute


Ask = Callable[..., Work]
Compute = Callable[[Work], dict[str, object] | None]


def prepare(work: Work) -> str | None:
    """The first stage of one run: its result, if that is known already."""
    begun = preprocess.prepare(work, results.cache_batch())
    outcome = begun() if callable(begun) else begun
    return outcome.payload if isinstance(outcome, End) else outcome


def conclude(work: Work) -> str:
    """The last stage of one run: its result."""
    begun = postprocess.conclude(work, results.cache_batch())
    if isinstance(begun, End):
        assert begun.degraded
        return begun.payload
    return begun().payload


def stored_keys(s3: S3Objects, work: Work, name: str) -> list[str]:
    """The objects of this name in all editions of a run's result, older ones first."""
    folder = object_keys.result_folder(work.spec.user, work.spec.request_key)
    return [item.key for item in s3.page(folder, "", 1000) if item.key.endswith(f"/{name}")]


def stored(s3: S3Objects, work: Work, name: str) -> bytes:
    [*_, newest] = stored_keys(s3, work, name) or [f"{work.spec.request_key}/{name}"]
    return s3.get(newest)


def erase(s3: S3Objects, work: Work) -> None:
    """What erasing a user does to the objects of this run."""
    s3.delete_all(object_keys.result_folder(work.spec.user, work.spec.request_key))


def picture_key(result: Mapping[str, Any]) -> str:
    return str(result["objects"]["preview"]["key"])


def only(cache: "redis.Redis", pattern: str) -> str:
    [key] = cache.keys(pattern)
    return str(key)


@dataclass
class Clock:
    """The module `time` for one that is to live at another time."""

    now_s: float
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return self.now_s


def set_back(servers: Stack, s3: S3Objects, key: str, to_s: float) -> None:
    """Give an object's file another date; rclone looks anew for what others changed after 1 s."""
    os.utime(servers.folder / "s3" / "pixelmill" / key, (to_s, to_s))
    end = time.monotonic() + 10
    while abs(s3.page(key.rpartition("/")[0] + "/", "", 9)[0].modified_s - to_s) > 2:
        assert time.monotonic() < end, "the date was not seen"
        time.sleep(0.1)


class Readers:
    """Two threads that read an object by its signed address, again and again."""

    def __init__(self, s3: S3Objects, key: str) -> None:
        self._url, self._whole = s3.presign_get(key, "", "image/png"), s3.get(key)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(2)]
        self.seen: set[str] = set()
        self.count = 0

    def _read(self) -> None:
        with httpx.Client(trust_env=False) as http:
            while not self._stopping.is_set():
                self.seen.add(self._once(http))
                self.count += 1

    def _once(self, http: httpx.Client) -> str:
        try:
            answer = http.get(self._url)
        except httpx.HTTPError as error:
            return repr(error)
        is_whole = answer.status_code == 200 and answer.content == self._whole
        return "whole" if is_whole else f"{answer.status_code} {answer.content[:100]!r}"

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def scope(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PIXELMILL_CACHE_SCOPE", name)
    settings.cache_clear()


def test_what_a_fallback_made_is_marked_and_not_saved(ask: Ask, s3: S3Objects) -> None:
    work, arrays = ask("ada", "first"), clients.scratch()
    prepare(work)
    arrays.put(work.scratch("degraded"), arrays.get(work.scratch("input")))

    result = json.loads(conclude(work))

    assert result["degraded"] is True and result["objects"]
    with pytest.raises(FileNotFoundError):
        stored(s3, work, "result.json")


# The same bytes


def test_the_same_bytes_under_another_upload_are_computed_once(ask: Ask, computed: Compute) -> None:
    assert computed(ask("ada", "first")) is not None

    assert computed(ask("ada", "second")) is None


def test_what_is_adopted_lies_in_the_runs_own_folder(
    ask: Ask, computed: Compute, s3: S3Objects
) -> None:
    first, second = ask("ada", "first"), ask("ada", "second")
    computed(first)

    adopted = json.loads(prepare(second) or "")

    [own] = stored_keys(s3, second, "preview.png")
    assert adopted["objects"]["preview"]["key"] == own
    assert s3.get(own) == stored(s3, first, "preview.png")
    assert s3.stat(own).type == "image/png"
    assert json.loads(stored(s3, second, "result.json")) == adopted


def test_what_is_copied_counts_as_stored_once_more(ask: Ask, computed: Compute) -> None:
    computed(ask("ada", "first"))

    begun = preprocess.prepare(ask("ada", "second"), results.cache_batch())

    end = begun() if callable(begun) else None
    assert isinstance(end, End)
    copied = results.pictures_of(json.loads(end.payload))
    assert end.stored_bytes == sum(picture["bytes"] for picture in copied) > 0


def test_an_adopted_result_is_remembered_for_its_own_request(
    ask: Ask, computed: Compute, cache: "redis.Redis"
) -> None:
    computed(ask("ada", "first"))
    second = ask("ada", "second")

    adopted = prepare(second)

    assert cache.get(keys.result(second.spec.request_key)) == adopted


@pytest.mark.parametrize(
    "change",
    [{"params": {"gain": 3.0}}, {"output": ["alpha"]}],
    ids=["params", "output"],
)
def test_other_work_on_the_same_bytes_is_other_work(
    ask: Ask, computed: Compute, change: dict[str, object]
) -> None:
    computed(ask("ada", "first"))

    assert computed(ask("ada", "second", **change)) is not None


def test_other_bytes_share_nothing(ask: Ask, computed: Compute, photo: bytes) -> None:
    computed(ask("ada", "first"))

    assert computed(ask("ada", "second", photo)) is not None


def test_across_users_equal_bytes_are_computed_twice(ask: Ask, computed: Compute) -> None:
    computed(ask("ada", "hers"))

    assert computed(ask("bob", "his")) is not None


def test_across_an_installation_equal_bytes_are_computed_once_and_copied(
    ask: Ask, computed: Compute, s3: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope(monkeypatch, "installation")
    hers, his = ask("ada", "hers"), ask("bob", "his")
    computed(hers)

    adopted = json.loads(prepare(his) or "")

    assert adopted["objects"]["preview"]["key"].startswith("out/bob/")
    assert "/ada/" not in stored(s3, his, "result.json").decode()
    assert stored(s3, his, "preview.png") == stored(s3, hers, "preview.png")


def test_erasing_one_user_leaves_the_others_result_whole(
    ask: Ask, computed: Compute, s3: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope(monkeypatch, "installation")
    hers, his = ask("ada", "hers"), ask("bob", "his")
    computed(hers)
    prepare(his)

    erase(s3, hers)

    assert Image.open(io.BytesIO(stored(s3, his, "preview.png"))).size == (64, 64)
    assert prepare(ask("cleo", "another")), "and his is there for the next"


@pytest.mark.parametrize("gone", ["result.json", "preview.png"])
def test_what_was_erased_is_computed_again(
    ask: Ask, computed: Compute, s3: S3Objects, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    scope(monkeypatch, "installation")
    hers = ask("ada", "hers")
    computed(hers)
    [key] = stored_keys(s3, hers, gone)
    s3.delete(key)

    assert computed(ask("bob", "his")) is not None
    assert computed(ask("cleo", "another")) is None, "that result is found from now on"


def test_equal_bytes_in_flight_wait_for_nobody(ask: Ask, computed: Compute) -> None:
    first, second = ask("ada", "first"), ask("ada", "second")

    assert prepare(first) is None
    assert prepare(second) is None, "the first has a place and no result yet"


def test_a_run_that_starts_again_does_not_take_its_own_place_for_anothers(
    ask: Ask, computed: Compute
) -> None:
    work = ask("ada", "first")

    assert prepare(work) is None
    assert computed(work) is not None


def test_a_cache_that_is_away_shares_nothing_and_fails_nothing(
    ask: Ask, computed: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed(ask("ada", "first"))
    monkeypatch.setenv("PIXELMILL_CACHE_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    clients.results.cache_clear()

    assert computed(ask("ada", "second")) is not None


async def test_a_copy_lives_as_long_as_its_record_says_however_old_its_source(
    ask: Ask, computed: Compute, s3: S3Objects, servers: Stack, state_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """rclone's copy keeps its source's date in listings."""
    first, second, now_s = ask("ada", "first"), ask("ada", "second"), time.time()
    with monkeypatch.context() as then:
        then.setattr(results, "time", Clock(now_s - 5.9 * DAY_S))
        computed(first)
    for name in ("preview.png", "result.json"):
        [key] = stored_keys(s3, first, name)
        set_back(servers, s3, key, now_s - 5.9 * DAY_S)

    adopted = json.loads(prepare(second) or "")
    left_s = adopted["made_s"] + settings().result_ttl_s - now_s
    link = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    await expired_objects.delete_next_pages(link, s3, now_s + left_s - 60)
    there = [len(stored_keys(s3, work, "preview.png")) for work in (first, second)]
    await expired_objects.delete_next_pages(link, s3, now_s + left_s + 2 * DAY_S)
    await link.close()

    assert left_s > 5.9 * DAY_S, "it is new for its own request"
    assert there == [0, 1], "the source is over and the copy is not"
    assert stored_keys(s3, second, "preview.png") == []


# Reading while it is made again


def test_who_reads_a_picture_is_not_disturbed_by_the_same_request_made_again(
    ask: Ask, computed: Compute, s3: S3Objects
) -> None:
    work = ask("ada", "first")
    first = computed(work)
    assert first
    with Readers(s3, picture_key(first)) as readers:
        for _ in range(30):
            conclude(work)

    assert readers.seen == {"whole"}
    assert readers.count > 30


def test_who_reads_a_copy_is_not_disturbed_by_another_copy(
    ask: Ask, computed: Compute, s3: S3Objects, cache: "redis.Redis"
) -> None:
    first, second = ask("ada", "first"), ask("ada", "second")
    computed(first)
    place = cache.get(only(cache, keys.result_location("*")))
    adopted = json.loads(prepare(second) or "")
    with Readers(s3, picture_key(adopted)) as readers:
        for _ in range(30):
            cache.set(only(cache, keys.result_location("*")), str(place))
            assert prepare(second)

    assert readers.seen == {"whole"}


def test_two_attempts_at_one_run_at_a_time_both_leave_whole_results(
    ask: Ask, computed: Compute, s3: S3Objects
) -> None:
    work = ask("ada", "first")
    whole = s3.get(picture_key(computed(work) or {}))
    with ThreadPoolExecutor(2) as attempts:
        made = [json.loads(text) for text in attempts.map(conclude, [work] * 40)]

    assert len({picture_key(result) for result in made}) == 40
    assert all(s3.get(picture_key(result)) == whole for result in made)


def test_erasing_removes_all_editions_of_a_result(
    ask: Ask, computed: Compute, s3: S3Objects, state: "redis.Redis"
) -> None:
    work = ask("ada", "first")
    computed(work)
    conclude(work)
    assert len(stored_keys(s3, work, "preview.png")) == 2
    state.hset(keys.run(work.spec.request_key), "user", "ada")

    results.erase(work.spec.request_key)

    assert s3.page(object_keys.result_folder("ada", work.spec.request_key), "", 10) == []


# The same request


def test_a_whole_cache_is_believed(ask: Ask, computed: Compute, cache: "redis.Redis") -> None:
    work = ask("ada", "first")
    computed(work)

    assert results.restore(work.spec) is None, "a result that is not in it does not exist"


def test_an_emptied_cache_is_filled_from_s3(
    ask: Ask, computed: Compute, cache: "redis.Redis", state: "redis.Redis"
) -> None:
    work = ask("ada", "first")
    result = computed(work)
    cache.flushdb()
    state.set(keys.SINCE, int(time.time() * 1000) - HOUR_MS)

    restored = results.restore(work.spec)

    assert json.loads(restored or "") == result
    assert cache.get(keys.result(work.spec.request_key)) == restored


def test_an_emptied_cache_knows_nothing_of_work_that_was_never_done(
    ask: Ask, state: "redis.Redis"
) -> None:
    state.set(keys.SINCE, int(time.time() * 1000) - HOUR_MS)

    assert results.restore(ask("ada", "first").spec) is None


def test_results_older_than_their_life_are_not_asked_for(
    ask: Ask, computed: Compute, cache: "redis.Redis", state: "redis.Redis"
) -> None:
    """A cache emptied so long ago can miss only what has expired anyhow."""
    work = ask("ada", "first")
    computed(work)
    long_ago = int(time.time() * 1000) - settings().result_ttl_s * 1000 - HOUR_MS
    cache.set(keys.SINCE, long_ago)
    state.set(keys.SINCE, long_ago - HOUR_MS)

    assert results.restore(work.spec) is None


def test_a_cache_that_is_away_may_have_had_the_result(
    ask: Ask, computed: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ask("ada", "first")
    result = computed(work)
    monkeypatch.setenv("PIXELMILL_CACHE_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    clients.results.cache_clear()

    assert json.loads(results.restore(work.spec) or "") == result


def test_a_cache_that_evicts_may_have_lost_the_result(
    servers: Stack, ask: Ask, computed: Compute, cache: "redis.Redis"
) -> None:
    work = ask("ada", "first")
    result = computed(work)
    used = int(cache.info("memory")["used_memory"])
    cache.config_set("maxmemory", used + 2_000_000)
    try:
        for number in range(400):
            cache.set(f"filler:{number}", "x" * 20_000)
        assert cache.info("stats")["evicted_keys"] > 0
    finally:
        cache.config_set("maxmemory", 0)
    cache.delete(keys.result(work.spec.request_key))
    try:
        assert json.loads(results.restore(work.spec) or "") == result
    finally:
        cache.config_resetstat()


def test_the_cache_is_checked_once_a_second(
    ask: Ask, cache: "redis.Redis", state: "redis.Redis"
) -> None:
    spec = ask("ada", "first").spec
    results.restore(spec)
    before = cache.info("commandstats").get("cmdstat_info", {}).get("calls", 0)

    for _ in range(5):
        results.restore(spec)

    after = cache.info("commandstats").get("cmdstat_info", {}).get("calls", 0)
    assert after - before <= 1, "of which this test's own look is one"
