"""What users have and do, and what models did in the last minutes, on a real Redis."""

from job_calls import Calls

from storage import keys, quotas, recent_users, users
from storage.jobs import minutes
from storage.jobs.spec import RunRef
from storage.quotas import NO_QUOTAS, Use
from storage.redis.calls import NUMBER, SyncRedis, command

pytest_plugins = ["inprocess", "job_calls"]


def test_users_are_listed_by_how_many_jobs_they_have(calls: Calls, link: SyncRedis) -> None:
    link.do(users.add("ann", "a long enough password", "admin"))
    for number in range(3):
        calls.claim(f"j{number}", key=str(number) * 64, user="ann" if number else "bob")
    link.do(quotas.use(Use("ann", NO_QUOTAS, images=2, bytes=10, stored_ttl_s=60)))

    found = link.do(recent_users.read())

    seen = [(user.name, user.role, user.jobs, user.in_progress) for user in found.users]
    assert seen == [("ann", "admin", 2, 2), ("bob", "", 1, 1)]
    assert found.total == 2
    used = [(user.images_today, user.bytes_today, user.stored_bytes) for user in found.users]
    assert used == [(2, 10, 10), (0, 0, 0)]


def test_minutes_have_ends_hits_and_times_of_stages(calls: Calls, link: SyncRedis) -> None:
    link.do(command(int, "SADD", keys.MODELS, "toy", kinds=NUMBER))
    ref = RunRef("one", calls.claim("j1", "one").attempt)
    calls.begin_stage(ref)
    calls.finish(ref)

    of_model = link.do(minutes.read())["toy"]

    assert len(of_model) == minutes.MINUTES
    assert sum(minute.done for minute in of_model[-2:]) == 1
    assert sum(minute.stage_ms["preprocess"] for minute in of_model[-2:]) > 0
    assert all(minute == minutes.NOTHING for minute in of_model[:-2])
