"""A result and an upload live exactly as long as some job of their user needs them.

The invariant: a delete says that a result or an upload is free if and only if no other record of a
job that needs it is in Redis, whether the others were deleted, cancelled or expired by themselves.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis
import runs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from storage import keys
from storage import uploads as stored_uploads
from storage.jobs import bounds, claims, endings, history, recovery
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.claims import Claim
from storage.jobs.endings import Deleted, End
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis
from storage.states import ENDED

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
      local words = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
      for i = 1, #words, 2 do redis.call('ZADD', key, words[i + 1] - ms, words[i]) end
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


LOOK = """
local t, asked = redis.call('TIME'), cjson.decode(ARGV[1])
local now = t[1] * 1000 + t[2] / 1000
local needs, counts = {}, {}
for i, need in ipairs(asked.needs) do
  local held = redis.call('ZSCORE', need.set, need.job)
  held = held and held - now or -1
  needs[i] = {redis.call('PTTL', need.record), held, redis.call('PTTL', need.set)}
end
for _, set in ipairs(asked.sets) do
  counts[set] = redis.call('ZCOUNT', set, string.format('(%.3f', now), '+inf')
end
return cjson.encode({needs, counts, redis.call('PTTL', asked.history)})
"""
"""At one moment: of each need for how many ms the record lives, the need is written down, and the
set of such needs lives; how many needs of each set count; for how many ms the history lives."""
EXACT_MS = 100


def spec(key: str, upload: str, code: str = "c") -> Spec:
    return Spec(key, USER, "toy", {}, ["alpha"], upload, "sha256:w", code)


class Calls:
    """Calls with this file's usual arguments, and the passing of time."""

    def __init__(self, link: SyncRedis, state: "redis.Redis") -> None:
        self.link, self.state = link, state

    def claim(self, job: str, key: str, upload: str, known: str = "") -> Claim:
        asked = claims.claim(
            job, spec(key, upload), priority="batch", job_ttl_s=TTL_S, deadline_s=45,
            known_result=known,
        )  # fmt: skip
        return self.link.do(asked)

    def write_upload(self, upload: str) -> None:
        self.link.do(stored_uploads.write(USER, upload, {"state": "there"}, ttl_s=100_000))

    def start(self, ref: RunRef) -> int:
        call = runs.begin_stage([ref], "preprocess", job_ttl_s=TTL_S, expired=EXPIRED)
        [start] = self.link.do(call)
        return start.starts

    def finish(self, ref: RunRef, state: str = "done") -> int:
        end = End(ref, state, '{"kind":"labels"}')  # type: ignore[arg-type]  # either of the two
        [answer] = self.link.do(endings.finish([end], job_ttl_s=TTL_S))
        return answer

    def delete(self, job: str) -> Deleted:
        deleted = self.link.do(endings.delete(job, USER, job_ttl_s=TTL_S))
        assert deleted is not None
        return deleted

    def pass_time(self, seconds: float) -> None:
        self.state.eval(PASS_TIME, 0, seconds * 1000)

    def is_there(self, job: str) -> bool:
        return bool(self.state.exists(keys.job(job)))


@pytest.fixture
def calls(link: SyncRedis, state: "redis.Redis") -> Calls:
    return Calls(link, state)


def test_the_upload_that_a_run_reads_is_kept_for_who_joined_it(calls: Calls) -> None:
    """Only the first job brought bytes; deleting it must not take them from the run."""
    [key, *_] = REQUESTS
    calls.claim("first", key, "of-the-first")
    calls.claim("other", key, "never-brought")

    first, last = calls.delete("first"), calls.delete("other")

    assert first == Deleted(key, False, [])
    assert last == Deleted(key, True, ["of-the-first"])


def test_who_joined_with_an_upload_of_his_own_needs_both(calls: Calls) -> None:
    [key, *_] = REQUESTS
    calls.write_upload("mine")
    calls.claim("first", key, "of-the-first")
    calls.claim("other", key, "mine")

    calls.delete("first")

    assert calls.delete("other").free_uploads == ["of-the-first", "mine"]


def test_a_hit_that_brought_bytes_for_nothing_has_no_upload(calls: Calls) -> None:
    calls.claim("hit", REQUESTS[0], "never-brought", known='{"kind":"labels"}')

    assert calls.delete("hit").free_uploads == []


def test_a_job_that_expired_by_itself_needs_nothing(calls: Calls) -> None:
    [key, *_] = REQUESTS
    number = calls.claim("old", key, "upload").attempt
    calls.finish(RunRef(key, number))
    calls.pass_time(TTL_S / 2)
    calls.claim("young", key, "upload")
    calls.pass_time(TTL_S / 2 + 1)

    assert not calls.is_there("old") and calls.is_there("young")
    assert calls.delete("young").has_free_result


def test_a_job_that_waited_long_needs_its_result_as_long_as_its_record_lives(calls: Calls) -> None:
    [key, *_] = REQUESTS
    number = calls.claim("patient", key, "upload").attempt
    calls.pass_time(40)
    calls.finish(RunRef(key, number))
    calls.claim("other", key, "upload")
    calls.pass_time(40)

    assert calls.is_there("patient")
    assert not calls.delete("other").has_free_result


def test_a_job_of_a_run_that_moved_needs_the_result_of_the_new_request(calls: Calls) -> None:
    old, new = REQUESTS
    number = calls.claim("moved", old, "upload").attempt
    [n] = calls.link.do(
        recovery.requeue([RunRef(old, number)], [spec(new, "upload", "newer")], job_ttl_s=TTL_S)
    )
    calls.finish(RunRef(old, n))
    calls.claim("other", new, "upload", known='{"kind":"labels"}')

    assert calls.delete("moved") == Deleted(new, False, ["upload"])
    assert calls.delete("other") == Deleted(new, True, [])


def test_a_late_result_stays_if_somebody_needs_it_by_then(calls: Calls) -> None:
    [key, *_] = REQUESTS
    number = calls.claim("gone", key, "upload").attempt
    calls.start(RunRef(key, number))
    calls.delete("gone")
    calls.claim("hit", key, "upload", known='{"kind":"labels"}')

    assert calls.finish(RunRef(key, number)) == 1


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

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        calls.state.flushdb()
        self.names = itertools.count(1)
        self.jobs: dict[str, Known] = {}
        self.runs: dict[str, Run] = {}
        self.there: set[str] = set()

    def living(self) -> Iterator[str]:
        return (job for job in self.jobs if self.calls.is_there(job))

    @rule(upload=st.sampled_from(UPLOADS))
    def brings_an_upload(self, upload: str) -> None:
        self.calls.write_upload(upload)
        self.there.add(upload)

    @rule(key=st.sampled_from(REQUESTS), upload=st.sampled_from([*UPLOADS, ""]), hit=st.booleans())
    def asks(self, key: str, upload: str, hit: bool) -> None:
        self.ask(key, upload, hit)

    @rule(key=st.sampled_from(REQUESTS))
    def is_lost(self, key: str) -> None:
        """Its worker is gone for longer than its lease, and somebody asks for the same."""
        if key in self.runs:
            self.calls.start(RunRef(key, self.runs[key].number))
            self.calls.pass_time(bounds.LEASE_MS / 1000 + 1)
            self.ask(key, "", False)

    def ask(self, key: str, upload: str, hit: bool) -> None:
        name = f"job-{next(self.names)}"
        upload = upload if upload in self.there else f"bytes-of-{name}"
        claim = self.calls.claim(name, key, upload, known='{"kind":"labels"}' if hit else "")
        own = {upload} & self.there
        if claim.verdict == "start":
            self.starts_a_run(name, key, upload, claim.attempt)
        elif claim.verdict == "join":
            run = self.runs[key]
            run.jobs.add(name)
            self.jobs[name] = Known(run.result, {run.upload} | own)
        else:
            self.jobs[name] = Known(key, own)

    def starts_a_run(self, name: str, key: str, upload: str, number: int) -> None:
        waiting = self.calls.state.smembers(keys.run_jobs(key)) - {name}
        for other in waiting:  # they waited for an attempt that was lost, and wait for this one
            self.jobs[other].uploads.add(upload)
            self.jobs[other].result = key
        self.jobs[name] = Known(key, {upload})
        self.runs[key] = Run(number, upload, key, {name, *waiting})
        self.calls.write_upload(upload)
        self.there.add(upload)

    @rule(key=st.sampled_from(REQUESTS))
    def is_queued(self, key: str) -> None:
        if key in self.runs:
            ref = RunRef(key, self.runs[key].number)
            self.calls.link.do(enqueue_claimed(ref))

    @rule(key=st.sampled_from(REQUESTS), data=st.data())
    def is_taken_over(self, key: str, data: st.DataObject) -> None:
        """Another web process than the first job's has stored the bytes of a job that joined."""
        run = self.runs.get(key)
        who = sorted(run.jobs & set(self.living())) if run else []
        if not run or not who:
            return
        name, upload = data.draw(st.sampled_from(who)), f"brought-{next(self.names)}"
        n, state, unsent = self.calls.state.hmget(keys.run(key), "attempt", "state", "unqueued")
        waiting = self.calls.state.smembers(keys.run_jobs(key))
        asked = claims.replace_upload(RunRef(key, run.number), spec(key, upload), name)
        taken = self.calls.link.do(asked)
        is_open = n == str(run.number) and unsent is not None and state not in ENDED
        assert taken == is_open
        run.upload = upload if taken else run.upload
        for job in waiting if taken else {name}:
            self.jobs[job].uploads.add(upload)

    @rule(key=st.sampled_from(REQUESTS))
    def starts(self, key: str) -> None:
        if key in self.runs:
            self.calls.start(RunRef(key, self.runs[key].number))

    @rule(key=st.sampled_from(REQUESTS), state=st.sampled_from(["done", "failed"]))
    def ends(self, key: str, state: str) -> None:
        if key in self.runs:
            self.calls.finish(RunRef(key, self.runs[key].number), state)

    @rule(key=st.sampled_from(REQUESTS), to=st.sampled_from(["d" * 64, *REQUESTS]))
    def moves(self, key: str, to: str) -> None:
        """Its worker is lost, and its model has other weights by now."""
        if key not in self.runs or to == key:
            return
        run = self.runs[key]
        ref, waiting = RunRef(key, run.number), self.calls.state.smembers(keys.run_jobs(key))
        [n] = self.calls.link.do(
            recovery.requeue([ref], [spec(to, run.upload, "newer")], job_ttl_s=TTL_S)
        )
        if n:
            run.number, run.result = n, to
            for job in waiting:
                self.jobs[job].result = to

    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        if self.jobs:
            job = data.draw(st.sampled_from(sorted(self.jobs)))
            self.calls.link.do(endings.cancel(job, USER, job_ttl_s=TTL_S))

    @rule(seconds=st.sampled_from([1, 20, 35, 61]))
    def time_passes(self, seconds: int) -> None:
        self.calls.pass_time(seconds)
        self.calls.link.do(endings.expire(EXPIRED, job_ttl_s=TTL_S))

    @rule()
    def is_trimmed(self) -> None:
        self.calls.link.do(history.trim(job_ttl_s=TTL_S))

    @rule(data=st.data())
    def is_deleted(self, data: st.DataObject) -> None:
        living = sorted(self.living())
        if not living:
            return
        name = data.draw(st.sampled_from(living))
        deleted = self.calls.delete(name)
        job = self.jobs.pop(name)
        others = [self.jobs[other] for other in self.living()]
        needed = {upload for other in others for upload in other.uploads}
        assert deleted.request_key == job.result
        assert deleted.has_free_result == all(other.result != job.result for other in others)
        assert set(deleted.free_uploads) == job.uploads - needed
        assert len(set(deleted.free_uploads)) == len(deleted.free_uploads)
        self.there -= set(deleted.free_uploads)

    def needs(self) -> Iterator[tuple[str, str]]:
        """Sets, and the jobs that must be in them for as long as their records live."""
        for name, job in self.jobs.items():
            yield keys.result_jobs(job.result), name
            yield from ((keys.upload_jobs(USER, upload), name) for upload in job.uploads)

    @invariant()
    def what_is_held_is_what_living_jobs_need(self) -> None:
        """Each need counts as long as the record, no other does, and no set is gone before."""
        needs = [{"set": of, "job": job, "record": keys.job(job)} for of, job in self.needs()]
        sets = {keys.result_jobs(key) for key in (*REQUESTS, "d" * 64)} | {n["set"] for n in needs}
        asked = {"needs": needs, "sets": sorted(sets), "history": keys.user_jobs(USER)}
        lifetimes_ms, counts, history_ms = json.loads(
            self.calls.state.eval(LOOK, 0, json.dumps(asked))
        )
        for need, (record_ms, held_ms, set_ms) in zip(needs, lifetimes_ms, strict=True):
            if record_ms > 0:
                assert abs(held_ms - record_ms) < EXACT_MS, need
                assert set_ms > record_ms - EXACT_MS, need
                assert history_ms > record_ms - EXACT_MS, need
        living = Counter(
            n["set"] for n, (ms, *_) in zip(needs, lifetimes_ms, strict=True) if ms > 0
        )
        assert {of: count for of, count in counts.items() if count} == living

    @invariant()
    def history_names_all_that_live(self) -> None:
        listed = set(self.calls.state.zrange(keys.user_jobs(USER), 0, -1))
        assert set(self.living()) <= listed

    @invariant()
    def nothing_stays_for_ever(self) -> None:
        """Each set and list expires with the last record that it names, or an eighth later."""
        patterns = (keys.result_jobs("*"), keys.upload_jobs("*", "*"), keys.user_jobs("*"))
        for key in itertools.chain.from_iterable(map(self.calls.state.scan_iter, patterns)):
            left_ms = self.calls.state.pttl(key)
            assert left_ms != -1, f"{key} stays"  # -2: it has just gone
            assert left_ms <= TTL_S * 1000 * 9 / 8


def test_what_is_free_is_what_no_other_job_needs(calls: Calls) -> None:
    run_state_machine_as_test(
        lambda: Holds(calls),
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def day(calls: Calls, number: int) -> None:
    """Misses, joins, hits, a cancelled, a deleted and an expired job, and bytes that come late."""
    for key in (f"{number}-{n}".ljust(64, "0") for n in range(3)):
        jobs = [f"{key[:3]}-{n}" for n in range(6)]
        run = RunRef(key, calls.claim(jobs[0], key, f"upload-of-{jobs[0]}").attempt)
        for job in jobs[1:]:
            calls.claim(job, key, f"upload-of-{job}")
        asked = claims.replace_upload(run, spec(key, f"late-{jobs[1]}"), jobs[1])
        assert calls.link.do(asked)
        calls.start(run)
        calls.link.do(endings.cancel(jobs[2], USER, job_ttl_s=TTL_S))
        calls.delete(jobs[3])
        calls.finish(run)
        calls.claim(f"hit-{key[:3]}", "c" * 64, UPLOADS[0], known='{"kind":"labels"}')
    calls.claim(f"late-{number}", "e" * 64, f"upload-of-late-{number}")


def counts(state: "redis.Redis") -> Counter[str]:
    """Keys, and entries of sets, by kind."""
    entries: Counter[str] = Counter()
    for name in state.scan_iter(count=1000):
        kind = name.split(":")[1]
        if kind == "metrics":  # one a minute, and these days pass within one or two
            continue
        entries[f"{kind} keys"] += 1
        count = {"zset": state.zcard, "set": state.scard}.get(state.type(name))
        entries[f"{kind} entries"] += int(count(name)) if count else 0
    return entries


def test_ten_days_leave_no_more_than_three(calls: Calls) -> None:
    """In state Redis; `make bench-days` has the whole installation live through them."""
    seen = []
    for number in range(10):
        day(calls, number)
        seen.append(counts(calls.state))
        for _ in range(4):
            calls.pass_time(bounds.RUN_TTL_MS / 4000)
            calls.link.do(endings.expire(EXPIRED, job_ttl_s=TTL_S))
            calls.link.do(history.trim(job_ttl_s=TTL_S))

    assert seen[2]["job keys"] > 15
    assert seen[-1] == seen[2]
