"""Counters of ends and hits, and the numbers of runs under way, on a real Redis."""

import redis
from job_calls import KEY, Calls

from storage import keys
from storage.jobs import endings
from storage.jobs import stats as job_stats
from storage.jobs.spec import RunRef

pytest_plugins = ["inprocess", "job_calls"]


def test_ends_are_counted_by_model_and_minute(calls: Calls, state: "redis.Redis") -> None:
    refs = [RunRef(key, calls.claim(f"j-{key}", key).attempt) for key in ("one", "two", "three")]
    calls.begin_stage(*refs)

    calls.finish(*refs[:2])
    calls.finish(refs[2], state="failed")

    minutes = {
        int(name.rsplit(":", 1)[1]) for name in state.keys(keys.METRICS_PREFIX + "toy:[0-9]*")
    }
    counted = [state.hgetall(f"{keys.METRICS_PREFIX}toy:{minute}") for minute in minutes]
    assert sum(int(minute.get("done", 0)) for minute in counted) == 2
    assert sum(int(minute.get("failed", 0)) for minute in counted) == 1
    assert all(float(minute["ms:preprocess"]) > 0 for minute in counted)
    assert all(
        0 < state.ttl(f"{keys.METRICS_PREFIX}toy:{minute}") <= 2 * 86_400 for minute in minutes
    )


def test_an_end_is_counted_in_its_minute_and_for_ever(calls: Calls, state: "redis.Redis") -> None:
    for number, end in enumerate(["done", "failed"]):
        calls.claim(f"j{number}", key=str(number) * 64)
        calls.begin_stage(RunRef(str(number) * 64, 1))
        calls.finish(RunRef(str(number) * 64, 1), state=end)

    [minute] = [key for key in state.scan_iter(keys.METRICS_PREFIX + "toy:[0-9]*")]
    for key in (minute, keys.METRICS_PREFIX + "toy:all"):
        counts = state.hgetall(key)
        assert (counts["done"], counts["failed"]) == ("1", "1")
        assert float(counts["ms:preprocess"]) > 0
    assert counts["failed:bad_input"] == "1"
    assert sum(int(n) for name, n in counts.items() if name.startswith("le:preprocess:")) == 2
    assert state.ttl(minute) > 86_400 and state.ttl(keys.METRICS_PREFIX + "toy:all") == -1


def test_a_hit_is_counted_in_its_minute_and_for_ever(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    calls.finish(RunRef(KEY, 1))

    calls.claim("known to the cache", key="d" * 64, known='{"kind":"labels"}')
    calls.claim("known to its run")
    calls.claim("new", key="e" * 64)

    [minute] = [key for key in state.scan_iter(keys.METRICS_PREFIX + "toy:[0-9]*")]
    for key in (minute, keys.METRICS_PREFIX + "toy:all"):
        assert state.hget(key, "hit") == "2"


def test_stats_count_what_waits_and_what_runs(calls: Calls, state: "redis.Redis") -> None:
    state.sadd(keys.MODELS, "toy")
    for number in range(3):
        calls.claim(f"j{number}", key=str(number) * 64)
    calls.begin_stage(RunRef("0" * 64, 1))

    stats = calls.link.do(job_stats.read())

    counts = {(group.state, group.queue, group.count) for group in stats.groups}
    assert counts == {("waiting", "cpu", 2), ("preprocessing", "cpu", 1)}
    assert max(group.oldest_ms for group in stats.groups if group.state == "waiting") > 0
    assert stats.totals == {"toy": {}}


def test_an_end_is_counted_by_the_version_of_its_model(calls: Calls, state: "redis.Redis") -> None:
    for number, end in enumerate(["done", "failed"]):
        calls.claim(f"j{number}", key=str(number) * 64)
        calls.finish(RunRef(str(number) * 64, 1), state=end)

    counts = state.hgetall(keys.METRICS_PREFIX + "toy:all")
    assert [counts[f"{of}@w-c"] for of in ("done", "failed", "failed:bad_input")] == ["1"] * 3


def test_the_time_from_claim_to_end_is_counted_by_priority_unless_nobody_got_a_result(
    calls: Calls, state: "redis.Redis"
) -> None:
    for number, priority in enumerate(["interactive", "batch", "batch"]):
        calls.claim(f"j{number}", key=str(number) * 64, priority=priority)
    state.hincrbyfloat(keys.run("0" * 64), "claimed", -1800)

    calls.finish(RunRef("0" * 64, 1))
    calls.finish(RunRef("1" * 64, 1), state="failed")
    calls.link.do(endings.cancel("j2", "ada", job_ttl_s=60))

    counts = state.hgetall(keys.METRICS_PREFIX + "toy:all")
    assert counts["job:interactive::le:2000"] == "1"
    assert 1800 <= float(counts["job:interactive::ms"]) < 60_000
    assert sum(int(n) for name, n in counts.items() if name.startswith("job:batch::le:")) == 1
