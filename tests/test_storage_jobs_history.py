"""Lists of a user's jobs: newest first, a page at a time, by state, model and time."""

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_calls import Calls

from storage import keys
from storage.jobs import history
from storage.jobs.history import Filter
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess", "job_calls"]

LOOK = 4
EVERYTHING = Filter()


def put(client: "redis.Redis", job: str, at_ms: float, **fields: str) -> None:
    """A job's record and its place in the history of ada."""
    record = {"id": job, "user": "ada", "state": "done", "model": "toy", "request_key": "none"}
    client.hset(keys.job(job), mapping={**record, **fields})
    client.zadd(keys.user_jobs("ada"), {job: at_ms})


def everything(link: SyncRedis, wanted: Filter = EVERYTHING, most: int = 2) -> list[str]:
    """The ids of all pages, one after the other."""
    found: list[str] = []
    before = ""
    while True:
        call = history.list_jobs("ada", wanted, before=before, most=most, look=LOOK)
        page = link.do(call)
        found += page.job_ids
        assert len(page.job_ids) <= most
        if not page.next:
            return found
        before = page.next


def test_pages_together_have_every_job_once_newest_first(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    for number in range(11):
        put(state, f"j{number}", 1_795_895_075_000 + number / 1000)

    assert everything(link) == [f"j{number}" for number in reversed(range(11))]


def test_nobody_elses_jobs_are_listed(link: SyncRedis, calls: Calls) -> None:
    calls.claim("theirs", user="bob")

    assert everything(link) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(states=["failed"]), ["j3"]),
        (Filter(states=["done", "failed"]), ["j3", "j2", "j1"]),
        (Filter(models=["other"]), ["j2"]),
        (Filter(models=["other"], states=["failed"]), []),
        (Filter(since_ms=2), ["j3", "j2"]),
    ],
)
def test_a_filter_lets_through_what_it_names(
    link: SyncRedis, state: "redis.Redis", wanted: Filter, found: list[str]
) -> None:
    put(state, "j1", 1)
    put(state, "j2", 2, model="other")
    put(state, "j3", 3, state="failed")

    assert everything(link, wanted) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [("CAT", ["j1"]), ("übung", ["j2"]), ("ÜB", ["j2"]), ("%d+", []), (".jpg", ["j2", "j1"])],
)
def test_a_name_is_found_by_a_part_of_it_in_upper_or_lower_case(
    link: SyncRedis, state: "redis.Redis", name: str, found: list[str]
) -> None:
    put(state, "j1", 1, name="My Cat.jpg")
    put(state, "j2", 2, name="Übung 1.JPG")
    put(state, "j3", 3)

    assert everything(link, Filter(name=name)) == found


def test_a_job_under_way_is_in_the_state_of_its_run(link: SyncRedis, calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage(RunRef("k" * 64, 1))

    assert everything(link, Filter(states=["preprocessing"])) == ["j1"]
    assert everything(link, Filter(states=["queued"])) == []


def test_a_job_whose_record_is_gone_is_passed_over(link: SyncRedis, state: "redis.Redis") -> None:
    put(state, "j1", 1)
    put(state, "j2", 2)
    state.delete(keys.job("j2"))

    assert everything(link) == ["j1"]


def test_a_filter_that_nothing_passes_looks_at_a_few_entries_at_a_time(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    for number in range(10):
        put(state, f"j{number}", number)

    wanted = Filter(models=["other"])
    page = link.do(history.list_jobs("ada", wanted, most=5, look=LOOK))

    assert (page.job_ids, page.next) == ([], "6")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    jobs=st.lists(st.tuples(st.sampled_from(["done", "failed"]), st.booleans()), max_size=20),
    most=st.integers(1, 6),
    states=st.sets(st.sampled_from(["done", "failed"])),
)
def test_no_page_size_loses_or_repeats_a_job(
    link: SyncRedis,
    state: "redis.Redis",
    jobs: list[tuple[str, bool]],
    most: int,
    states: set[str],
) -> None:
    state.flushdb()
    for number, (job_state, has_record) in enumerate(jobs):
        put(state, f"j{number}", number, state=job_state)
        if not has_record:
            state.delete(keys.job(f"j{number}"))

    expected = [
        f"j{number}"
        for number, (job_state, has_record) in reversed(list(enumerate(jobs)))
        if has_record and (not states or job_state in states)
    ]
    assert everything(link, Filter(states=states), most) == expected
