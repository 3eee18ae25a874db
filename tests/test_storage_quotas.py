"""Quotas on a real Redis: what may be used, what is left, and when there is more."""

import time

import pytest
import redis

from storage import keys, quota_keys, quotas
from storage.jobs import claims, endings
from storage.jobs.spec import RunRef, Spec
from storage.quota_kinds import UNLIMITED
from storage.quotas import NO_QUOTAS, Allowance, Exceeded, Use, Used
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

HOUR_S, DAY_S = 3600, 86_400


def use(
    link: SyncRedis, images: int = 0, size: int = 0, ttl_s: int = DAY_S, **most: int
) -> Exceeded | dict[str, Allowance]:
    defaults = {**NO_QUOTAS, **most}
    answer = link.do(quotas.use(Use("ada", defaults, images, size, ttl_s)))
    return answer if isinstance(answer, Exceeded) else {item.name: item for item in answer.left}


def left(link: SyncRedis, **most: int) -> dict[str, Allowance]:
    items = link.do(quotas.read("ada", {**NO_QUOTAS, **most}))
    return {item.name: item for item in items}


def test_what_is_used_is_missing_from_what_is_left(link: SyncRedis) -> None:
    use(link, 2, 300, images_per_hour=10)

    found = left(link, images_per_hour=10, bytes_per_day=1000)

    assert (found["images_per_hour"].used, found["images_per_hour"].left) == (2, 8)
    assert (found["bytes_per_day"].used, found["bytes_per_day"].left) == (300, 700)
    assert (found["stored_bytes"].used, found["images_per_day"].most) == (300, UNLIMITED)


@pytest.mark.parametrize(
    ("limit", "images", "size"),
    [
        ("images_per_hour", 1, 0), ("images_per_day", 1, 0),
        ("bytes_per_hour", 0, 1), ("bytes_per_day", 0, 1), ("stored_bytes", 0, 1),
    ],
)  # fmt: skip
def test_each_quota_is_used_up_and_no_further(
    link: SyncRedis, limit: str, images: int, size: int
) -> None:
    used = [use(link, images, size, **{limit: 3}) for _ in range(5)]

    assert [isinstance(answer, Exceeded) for answer in used] == [False] * 3 + [True] * 2
    last = used[-1]
    assert isinstance(last, Exceeded)
    assert (last.limit, last.value, last.most) == (limit, 3, 3)


def test_a_refused_use_uses_nothing_of_the_other_quotas(link: SyncRedis) -> None:
    use(link, 1, 10, bytes_per_hour=10)
    assert isinstance(use(link, 1, 10, bytes_per_hour=10), Exceeded)

    assert left(link)["images_per_hour"].used == 1


@pytest.mark.parametrize(("window", "seconds"), [("hour", HOUR_S), ("day", DAY_S)])
def test_a_window_begins_with_the_first_use_and_ends_on_time(
    link: SyncRedis, state: "redis.Redis", window: str, seconds: int
) -> None:
    most = {f"images_per_{window}": 1}
    use(link, 1, **most)
    refused = use(link, 1, **most)
    assert isinstance(refused, Exceeded)
    assert refused.room_in_ms == pytest.approx(seconds * 1000, abs=2000)

    state.hset(quota_keys.usage("ada"), f"{window}_ends", int(time.time() * 1000) - 1)

    again = use(link, 1, **most)
    assert not isinstance(again, Exceeded)
    assert again[f"images_per_{window}"].used == 1
    assert again[f"images_per_{window}"].resets_in_s == pytest.approx(seconds, abs=2)


def test_a_window_that_ends_too_late_is_over(link: SyncRedis, state: "redis.Redis") -> None:
    use(link, 1)
    state.hset(quota_keys.usage("ada"), "hour_ends", int(time.time() * 1000) + 2 * 3_600_000)

    assert left(link)["images_per_hour"].used == 0, "the clock of Redis was set back"


def test_stored_bytes_are_free_again_when_they_expire(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    use(link, 0, 100, ttl_s=DAY_S, stored_bytes=150)
    refused = use(link, 0, 100, stored_bytes=150)
    assert isinstance(refused, Exceeded)
    assert DAY_S * 1000 - 2000 <= refused.room_in_ms <= (DAY_S + 3600) * 1000

    [expires] = state.hkeys(quota_keys.stored("ada"))
    state.hdel(quota_keys.stored("ada"), expires)
    state.hset(quota_keys.stored("ada"), int(time.time()) - 1, 100)

    assert not isinstance(use(link, 0, 100, stored_bytes=150), Exceeded)
    assert left(link)["stored_bytes"].used == 100
    assert state.hlen(quota_keys.stored("ada")) == 1


def test_what_is_stored_takes_few_fields(link: SyncRedis, state: "redis.Redis") -> None:
    for _ in range(50):
        for ttl_s in (1200, DAY_S, 7 * DAY_S):
            use(link, 0, 1, ttl_s=ttl_s)

    assert left(link)["stored_bytes"].used == 150
    assert state.hlen(quota_keys.stored("ada")) <= 6


def test_a_payer_may_have_a_quota_of_its_own(link: SyncRedis) -> None:
    link.do(quotas.set_own("ada", "images_per_hour", 2))

    found = left(link, images_per_hour=1, images_per_day=7)

    assert (found["images_per_hour"].most, found["images_per_day"].most) == (2, 7)
    assert link.do(quotas.own("ada")) == {"images_per_hour": 2}


def test_a_quota_of_its_own_may_be_no_limit(link: SyncRedis) -> None:
    link.do(quotas.set_own("ada", "images_per_hour", UNLIMITED))

    assert not any(isinstance(use(link, 1, images_per_hour=1), Exceeded) for _ in range(3))


def test_without_a_quota_of_its_own_the_default_holds_again(link: SyncRedis) -> None:
    link.do(quotas.set_own("ada", "images_per_hour", 2))

    link.do(quotas.unset_own("ada", "images_per_hour"))

    assert left(link, images_per_hour=1)["images_per_hour"].most == 1


def test_a_run_that_is_given_up_takes_nothing_from_a_later_window(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    image = Use("ada", NO_QUOTAS, images=1, bytes=10)
    spec = Spec("k" * 64, "ada", "toy", {}, ["alpha"], "upload", "sha256:w", "sha256:c")
    ref = RunRef(spec.request_key, 1)
    claimed = link.do(claims.claim("j" * 32, spec, priority="batch", job_ttl_s=60, use=image))
    state.hset(keys.run(ref.key), "claimed", claimed.at_ms - 9000)
    hour_since, day_since = claimed.at_ms - 5000, claimed.at_ms - 9000
    ends = {"hour_ends": int(hour_since + HOUR_S * 1000), "day_ends": int(day_since + DAY_S * 1000)}
    state.hset(quota_keys.usage("ada"), mapping=ends)

    given_up = [link.do(endings.give_up(ref, "{}", image, job_ttl_s=60)) for _ in range(2)]

    found = left(link)
    assert given_up == [True, False]
    assert (found["images_per_hour"].used, found["images_per_day"].used) == (1, 0)
    assert (found["bytes_per_hour"].used, found["bytes_per_day"].used) == (10, 0)


def test_what_was_not_stored_is_given_back_but_not_to_a_later_window(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    upload = Use("ada", NO_QUOTAS, bytes=10, stored_ttl_s=DAY_S)
    used = link.do(quotas.use(upload))
    assert isinstance(used, Used)

    link.do(quotas.give_back(upload, used.at_ms))
    given_back = left(link)
    link.do(quotas.use(upload))
    state.hset(quota_keys.usage("ada"), "hour_ends", int(used.at_ms + HOUR_S * 1000 - 1000))
    link.do(quotas.give_back(upload, used.at_ms - 2000))
    of_later_hour = left(link)["bytes_per_hour"]

    names = ("bytes_per_hour", "bytes_per_day", "stored_bytes")
    assert [given_back[name].used for name in names] == [0, 0, 0]
    assert of_later_hour.used == 10


def test_nobody_uses_what_is_anothers(link: SyncRedis) -> None:
    use(link, 1, 10)

    assert all(item.used == 0 for item in link.do(quotas.read("bob", NO_QUOTAS)))


def test_usage_is_forgotten_by_itself(link: SyncRedis, state: "redis.Redis") -> None:
    use(link, 1, 10, ttl_s=DAY_S)

    assert 0 < state.ttl(quota_keys.usage("ada")) <= DAY_S
    assert 0 < state.ttl(quota_keys.stored("ada")) <= DAY_S + 3600
