"""Links to pictures: whose they are, until when they work, and what they keep."""

import time

import redis
from job_calls import KEY, Calls

from storage import keys, shares
from storage.jobs import endings
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis
from storage.shares import Share

pytest_plugins = ["inprocess", "job_calls"]


def link_to(job: str, share_id: str = "s1", user: str = "ada", life_s: float = 60) -> Share:
    expires_ms = int((time.time() + life_s) * 1000)
    return Share(share_id, user, job, "cutout", "out/ada/k/1/cutout.webp", "image/webp", expires_ms)


def done(calls: Calls, job: str = "j1") -> None:
    calls.claim(job)
    calls.finish(RunRef(KEY, 1))


def test_a_link_is_found_until_it_is_revoked(calls: Calls, link: SyncRedis) -> None:
    done(calls)
    share = link_to("j1")

    assert link.do(shares.add(share)) == "ok"
    found = link.do(shares.read("s1"))
    assert found and (found.user, found.job, found.key) == ("ada", "j1", share.key)
    assert link.do(shares.of_user("ada")) == [found]
    assert link.do(shares.revoke("ada", share_id="s1")) == 1
    assert link.do(shares.read("s1")) is None and link.do(shares.of_user("ada")) == []


def test_nobody_links_to_or_revokes_what_is_anothers(calls: Calls, link: SyncRedis) -> None:
    done(calls)
    link.do(shares.add(link_to("j1")))

    assert link.do(shares.add(link_to("j1", "s2", "bob"))) == "no_job"
    assert link.do(shares.revoke("bob", share_id="s1")) == 0
    assert link.do(shares.read("s1"))


def test_a_link_that_has_expired_is_gone(calls: Calls, link: SyncRedis) -> None:
    done(calls)
    link.do(shares.add(link_to("j1", life_s=0.05)))
    time.sleep(0.1)

    assert link.do(shares.read("s1")) is None
    assert link.do(shares.of_user("ada")) == []


def test_a_user_has_so_many_links_and_those_that_have_expired_do_not_count(
    calls: Calls, link: SyncRedis, state: "redis.Redis"
) -> None:
    done(calls)
    for number in range(shares.MOST):
        link.do(shares.add(link_to("j1", f"s{number}")))

    refused = link.do(shares.add(link_to("j1", "one more")))
    state.zadd(keys.user_shares("ada"), {"s0": 1})

    assert refused == "too_many"
    assert link.do(shares.add(link_to("j1", "one more"))) == "ok"


def test_a_link_keeps_the_result_when_another_job_with_it_is_deleted(
    calls: Calls, link: SyncRedis, state: "redis.Redis"
) -> None:
    done(calls, "j1")
    link.do(shares.add(link_to("j1")))
    calls.claim("j2", known="{}")
    link.do(endings.delete("j1", "ada", job_ttl_s=60))  # as if its record had expired

    deleted = link.do(endings.delete("j2", "ada", job_ttl_s=60))
    link.do(shares.revoke("ada", job="j1"))

    assert deleted and not deleted.has_free_result
    assert state.zcard(keys.result_jobs(KEY)) == 0


def test_the_links_of_one_job_end_together(calls: Calls, link: SyncRedis) -> None:
    done(calls, "j1")
    calls.claim("j2", known="{}")
    for number, job in enumerate(["j1", "j1", "j2"]):
        link.do(shares.add(link_to(job, f"s{number}")))

    assert link.do(shares.revoke("ada", job="j1")) == 2
    assert [share.id for share in link.do(shares.of_user("ada"))] == ["s2"]
