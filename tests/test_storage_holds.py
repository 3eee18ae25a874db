"""A result and an upload live exactly as long as some job of their user needs them.

The invariant: a delete says that a result or an upload is free if and only if no other record of a
job that needs it is in Redis, whether the others were deleted, cancelled or expired by themselves.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from storage import keys, records
from storage.calls import Sync
from storage.records import Claim, End, Ref, Spec

pytest_plugins = ["inprocess"]

TTL_S = 60
USER = "ada"
REQUESTS = ["a" * 64, "b" * 64]
UPLOADS = ["upload-1", "upload-2"]
EXPIRED = '{"code":"expired"}'

PASS_TIME = """
local ms = tonumber(ARGV[1])
local TIMES = {'lease', 'ended', 'deadline', 'waiting_since', 'suspect_since', 'created'}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left, kind = redis.call('PTTL', key), redis.call('TYPE', key).ok
  if left >= 0 and left <= ms then
    redis.call('DEL', key)
  else
    if left > 0 then redis.call('PEXPIRE', key, left - ms) end
    if kind == 'zset' then
      local found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
      for i = 1, #found, 2 do redis.call('ZADD', key, found[i + 1] - ms, found[i]) end
    elseif kind == 'hash' then
      for _, name in ipairs(TIMES) do
        local at = tonumber(redis.call('HGET', key, name) or '')
        if at and at > 0 then redis.call('HSET', key, name, string.format('%.3f', at - ms)) end
      end
    end
  end
end
"""
"""Everything in this database becomes so many ms older, as if that time had passed."""


def spec(key: str, upload: str, code: str = "c") -> Spec:
    return Spec(key, USER, "toy", {}, ["alpha"], upload, "sha256:w", code)


class Desk:
    """Calls with this file's usual arguments, and the passing of time."""

    def __init__(self, link: Sync, state: "redis.Redis") -> None:
        self.link, self.state = link, state

    def claim(self, job: str, key: str, upload: str, known: str = "") -> Claim:
        asked = records.claim(
            job, spec(key, upload), lane="batch", job_ttl_s=TTL_S, deadline_s=45,
            known_result=known, fields={"id": job},
        )  # fmt: skip
        return self.link.do(asked)

    def write_upload(self, upload: str) -> None:
        self.link.do(records.write_upload(USER, upload, {"state": "there"}, ttl_s=100_000))

    def start(self, ref: Ref) -> int:
        said = records.touch(
            "start", [ref], stage="preprocess", state="preprocessing", progress=0.1, model="toy",
            line="cpu", lane="batch", job_ttl_s=TTL_S, expired=EXPIRED,
        )  # fmt: skip
        [touched] = self.link.do(said)
        return touched.deliveries

    def finish(self, ref: Ref, state: str = "done") -> int:
        end = End(ref, state, '{"kind":"labels"}')  # type: ignore[arg-type]  # either of the two
        [answer] = self.link.do(records.finish([end], job_ttl_s=TTL_S))
        return answer

    def delete(self, job: str) -> records.Deleted:
        deleted = self.link.do(records.delete(job, USER, job_ttl_s=TTL_S))
        assert deleted is not None
        return deleted

    def pass_time(self, seconds: float) -> None:
        self.state.eval(PASS_TIME, 0, seconds * 1000)

    def is_there(self, job: str) -> bool:
        return bool(self.state.exists(keys.job(job)))


@pytest.fixture
def desk(link: Sync, state: "redis.Redis") -> Desk:
    return Desk(link, state)


def test_the_upload_that_a_run_reads_is_kept_for_who_joined_it(desk: Desk) -> None:
    """Only the leader brought bytes; a delete of its job must not take them from the run."""
    [key, *_] = REQUESTS
    desk.claim("leader", key, "of-the-leader")
    desk.claim("other", key, "never-brought")

    first, last = desk.delete("leader"), desk.delete("other")

    assert first == records.Deleted(key, False, [])
    assert last == records.Deleted(key, True, ["of-the-leader"])


def test_who_joined_with_an_upload_of_his_own_needs_both(desk: Desk) -> None:
    [key, *_] = REQUESTS
    desk.write_upload("mine")
    desk.claim("leader", key, "of-the-leader")
    desk.claim("other", key, "mine")

    desk.delete("leader")

    assert desk.delete("other").free_uploads == ["of-the-leader", "mine"]


def test_a_hit_that_brought_bytes_for_nothing_has_no_upload(desk: Desk) -> None:
    desk.claim("hit", REQUESTS[0], "never-brought", known='{"kind":"labels"}')

    assert desk.delete("hit").free_uploads == []


def test_a_job_that_expired_by_itself_needs_nothing(desk: Desk) -> None:
    [key, *_] = REQUESTS
    number = desk.claim("old", key, "upload").number
    desk.finish(Ref(key, number))
    desk.pass_time(TTL_S / 2)
    desk.claim("young", key, "upload")
    desk.pass_time(TTL_S / 2 + 1)

    assert not desk.is_there("old") and desk.is_there("young")
    assert desk.delete("young").has_free_result


def test_a_job_that_waited_long_needs_its_result_as_long_as_its_record_lives(desk: Desk) -> None:
    [key, *_] = REQUESTS
    number = desk.claim("patient", key, "upload").number
    desk.pass_time(40)
    desk.finish(Ref(key, number))
    desk.claim("other", key, "upload")
    desk.pass_time(40)

    assert desk.is_there("patient")
    assert not desk.delete("other").has_free_result


def test_a_job_of_a_run_that_moved_needs_the_result_of_the_new_request(desk: Desk) -> None:
    old, new = REQUESTS
    number = desk.claim("moved", old, "upload").number
    [n] = desk.link.do(
        records.lead_again([Ref(old, number)], [spec(new, "upload", "newer")], job_ttl_s=TTL_S)
    )
    desk.finish(Ref(old, n))
    desk.claim("other", new, "upload", known='{"kind":"labels"}')

    assert desk.delete("moved") == records.Deleted(new, False, ["upload"])
    assert desk.delete("other") == records.Deleted(new, True, [])


def test_a_late_result_stays_if_somebody_needs_it_by_then(desk: Desk) -> None:
    [key, *_] = REQUESTS
    number = desk.claim("gone", key, "upload").number
    desk.start(Ref(key, number))
    desk.delete("gone")
    desk.claim("hit", key, "upload", known='{"kind":"labels"}')

    assert desk.finish(Ref(key, number)) == 1


@dataclass
class Known:
    """What the model knows of a job: what it needs."""

    result: str
    uploads: set[str]


@dataclass
class Run:
    """What the model knows of a run: what its jobs need besides their own."""

    number: int
    upload: str
    result: str
    jobs: set[str] = field(default_factory=set)


class Holds(RuleBasedStateMachine):
    """Jobs of one user on few requests and uploads, in any order of events."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        desk.state.flushdb()
        self.names = itertools.count(1)
        self.jobs: dict[str, Known] = {}
        self.runs: dict[str, Run] = {}
        self.there: set[str] = set()

    def living(self) -> Iterator[str]:
        return (job for job in self.jobs if self.desk.is_there(job))

    @rule(upload=st.sampled_from(UPLOADS))
    def brings_an_upload(self, upload: str) -> None:
        self.desk.write_upload(upload)
        self.there.add(upload)

    @rule(key=st.sampled_from(REQUESTS), upload=st.sampled_from([*UPLOADS, ""]), hit=st.booleans())
    def asks(self, key: str, upload: str, hit: bool) -> None:
        name = f"job-{next(self.names)}"
        upload = upload if upload in self.there else f"bytes-of-{name}"
        claim = self.desk.claim(name, key, upload, known='{"kind":"labels"}' if hit else "")
        own = {upload} & self.there
        if claim.verdict == "lead":
            self.leads(name, key, upload, claim.number)
        elif claim.verdict == "join":
            run = self.runs[key]
            run.jobs.add(name)
            self.jobs[name] = Known(run.result, {run.upload} | own)
        else:
            self.jobs[name] = Known(key, own)

    def leads(self, name: str, key: str, upload: str, number: int) -> None:
        waiting = self.desk.state.smembers(keys.run_jobs(key)) - {name}
        for other in waiting:  # they waited for an attempt that was lost, and wait for this one
            self.jobs[other].uploads.add(upload)
            self.jobs[other].result = key
        self.jobs[name] = Known(key, {upload})
        self.runs[key] = Run(number, upload, key, {name, *waiting})
        self.desk.write_upload(upload)
        self.there.add(upload)

    @rule(key=st.sampled_from(REQUESTS))
    def starts(self, key: str) -> None:
        if key in self.runs:
            self.desk.start(Ref(key, self.runs[key].number))

    @rule(key=st.sampled_from(REQUESTS), state=st.sampled_from(["done", "failed"]))
    def ends(self, key: str, state: str) -> None:
        if key in self.runs:
            self.desk.finish(Ref(key, self.runs[key].number), state)

    @rule(key=st.sampled_from(REQUESTS), to=st.sampled_from(["d" * 64, *REQUESTS]))
    def moves(self, key: str, to: str) -> None:
        """Its worker is lost, and its model has other weights by now."""
        if key not in self.runs or to == key:
            return
        run = self.runs[key]
        ref, waiting = Ref(key, run.number), self.desk.state.smembers(keys.run_jobs(key))
        [n] = self.desk.link.do(
            records.lead_again([ref], [spec(to, run.upload, "newer")], job_ttl_s=TTL_S)
        )
        if n:
            run.number, run.result = n, to
            for job in waiting:
                self.jobs[job].result = to

    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        if self.jobs:
            job = data.draw(st.sampled_from(sorted(self.jobs)))
            self.desk.link.do(records.cancel(job, USER, job_ttl_s=TTL_S))

    @rule(seconds=st.sampled_from([1, 20, 35, 61]))
    def time_passes(self, seconds: int) -> None:
        self.desk.pass_time(seconds)
        self.desk.link.do(records.expire(EXPIRED, job_ttl_s=TTL_S))

    @rule()
    def is_trimmed(self) -> None:
        self.desk.link.do(records.trim(job_ttl_s=TTL_S))

    @rule(data=st.data())
    def is_deleted(self, data: st.DataObject) -> None:
        living = sorted(self.living())
        if not living:
            return
        name = data.draw(st.sampled_from(living))
        deleted = self.desk.delete(name)
        job = self.jobs.pop(name)
        others = [self.jobs[other] for other in self.living()]
        needed = {upload for other in others for upload in other.uploads}
        assert deleted.request_key == job.result
        assert deleted.has_free_result == all(other.result != job.result for other in others)
        assert set(deleted.free_uploads) == job.uploads - needed
        assert len(set(deleted.free_uploads)) == len(deleted.free_uploads)
        self.there -= set(deleted.free_uploads)

    @invariant()
    def what_is_held_is_what_living_jobs_need(self) -> None:
        jobs = [self.jobs[name] for name in self.living()]
        seconds, micros = self.desk.state.time()
        now_ms = seconds * 1000 + micros / 1000
        for key in (*REQUESTS, "d" * 64):
            held = self.desk.state.zcount(keys.result_jobs(key), now_ms, "+inf")
            assert held == sum(job.result == key for job in jobs)
        for upload in {upload for job in self.jobs.values() for upload in job.uploads}:
            held = self.desk.state.zcount(keys.upload_jobs(USER, upload), now_ms, "+inf")
            assert held == sum(upload in job.uploads for job in jobs)

    @invariant()
    def history_names_all_that_live(self) -> None:
        listed = set(self.desk.state.zrange(keys.user_jobs(USER), 0, -1))
        assert set(self.living()) <= listed

    @invariant()
    def nothing_stays_for_ever(self) -> None:
        """Each set and list expires with the last record that it names, or an eighth later."""
        patterns = ("px1:result-jobs:*", "px1:upload-jobs:*", "px1:user-jobs:*")
        for key in itertools.chain.from_iterable(map(self.desk.state.scan_iter, patterns)):
            assert 0 < self.desk.state.pttl(key) <= TTL_S * 1000 * 9 / 8


def test_what_is_free_is_what_no_other_job_needs(desk: Desk) -> None:
    run_state_machine_as_test(
        lambda: Holds(desk),
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
