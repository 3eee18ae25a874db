"""Who is served next: in fair order, in groups, within the room in front of a device."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest
import redis
import runs
from hypothesis import given, settings
from hypothesis import strategies as st
from stack import Stack

from storage import backlog_keys, keys
from storage.jobs import backlog, claims, endings, recovery, stages
from storage.jobs.backlog import Taken
from storage.jobs.claims import NO_LIMITS, Flow
from storage.jobs.endings import End
from storage.jobs.queueing import EncodedMessage, Tickets
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

TICKETS: Tickets = {
    "interactive": EncodedMessage("cpu-interactive", b"TICKET_ID"),
    "batch": EncodedMessage("cpu-batch", b"TICKET_ID"),
}
ROOM = 1000


class Line:
    """A backlog, and one worker that takes from it."""

    def __init__(self, link: SyncRedis) -> None:
        self.link, self.tickets = link, 0
        link.do(backlog.set_credits(1, {"toy": ROOM, "other": ROOM}))

    def add(
        self,
        key: str,
        user: str = "ada",
        *,
        model: str = "toy",
        priority: str = "batch",
        charge: float = 1,
        preprocess_ms: float = 1,
    ) -> RunRef:
        spec = Spec(key, user, model, {}, [], "upload", "w", "c")
        claim = claims.claim(
            f"job-{key}",
            spec,
            priority=priority,
            job_ttl_s=60,
            limits=NO_LIMITS,
            flow=Flow(user, charge),
            ready=claims.Ready(preprocess_ms, TICKETS),
        )
        return RunRef(key, self.link.do(claim).attempt)

    def take(self, most: int = 16, *, priority: str = "batch", ticket: str = "") -> Taken:
        self.tickets += 1
        return self.link.do(
            backlog.take(
                ticket or f"test-{self.tickets}",
                priority,
                most=most,
                most_ms=20,
                state="preprocessing",
                progress=0.05,
                tickets=TICKETS,
                job_ttl_s=60,
                expired="{}",
            )
        )

    def take_keys(self, most: int = 16, priority: str = "batch") -> list[str]:
        return [ref.key for ref in self.take(most, priority=priority).runs]

    def take_all(self) -> list[str]:
        """All keys in the order in which they are served, one at a time."""
        served: list[str] = []
        while taken := self.take_keys(1):
            served += taken
        return served

    def finish(self, refs: Sequence[RunRef]) -> None:
        self.link.do(endings.finish([End(ref, "done", "{}") for ref in refs], job_ttl_s=60))


@pytest.fixture
def line(link: SyncRedis) -> Line:
    return Line(link)


# Fair order


def test_one_users_runs_are_served_in_order(line: Line) -> None:
    for number in range(5):
        line.add(f"{number}")

    assert line.take_all() == ["0", "1", "2", "3", "4"]


def test_users_with_one_run_each_are_served_in_order_of_arrival(line: Line) -> None:
    users = ["dan", "bob", "eve", "ada", "cat"]
    for user in users:
        line.add(user, user)

    assert line.take_all() == users


def test_a_newcomer_is_next_whatever_others_have_waiting(line: Line) -> None:
    for number in range(100):
        line.add(f"many-{number:03}", "ada")
    line.take(1)

    line.add("his", "bob")

    assert line.take_keys(2) == ["his", "many-001"]


def test_two_users_get_equal_shares_from_then_on(line: Line) -> None:
    for number in range(60):
        line.add(f"ada-{number:03}", "ada")
    for _ in range(20):
        line.take(1)
    for number in range(60):
        line.add(f"bob-{number:03}", "bob")

    served = Counter(key[:3] for key in line.take_all()[:40])

    assert served == {"ada": 20, "bob": 20}


def test_a_flow_of_twice_the_weight_gets_twice_as_much(line: Line) -> None:
    for number in range(60):
        line.add(f"ada-{number:03}", "ada", charge=0.5)
        line.add(f"bob-{number:03}", "bob", charge=1)

    served = Counter(key[:3] for key in line.take_all()[:60])

    assert served == {"ada": 40, "bob": 20}


def test_who_had_nothing_for_a_while_gains_no_claim_on_what_others_got(line: Line) -> None:
    line.add("early", "bob")
    line.take()
    for number in range(50):
        line.add(f"ada-{number:03}", "ada")
        line.take()
    for number in range(10):
        line.add(f"new-{number:03}", "ada")
        line.add(f"bob-{number:03}", "bob")

    served = Counter(key[:3] for key in line.take_all()[:10])

    assert abs(served["bob"] - served["new"]) <= 2


def test_a_place_is_the_number_of_runs_that_are_served_before(line: Line) -> None:
    for number in range(6):
        line.add(f"ada-{number}", "ada")
    for number in range(2):
        line.add(f"bob-{number}", "bob")
    names = [f"ada-{number}" for number in range(6)] + ["bob-0", "bob-1"]
    ahead = {}
    for name in names:
        snapshot = runs.snapshot(line.link, f"job-{name}")
        assert snapshot
        ahead[name] = snapshot.ahead

    served = line.take_all()

    assert ahead == {name: place for place, name in enumerate(served)}


def test_a_cancelled_run_is_served_to_nobody(line: Line) -> None:
    line.add("goes")
    line.add("stays")

    line.link.do(endings.cancel("job-goes", "ada", job_ttl_s=60))

    assert line.take_all() == ["stays"]


def test_a_run_whose_deadline_is_over_is_not_begun(line: Line, state: "redis.Redis") -> None:
    late, other = line.add("late"), line.add("other")
    state.hset(keys.run("late"), "deadline", "1")

    taken = line.take()

    assert taken.runs[late].has_ended and taken.runs[other].is_live
    assert state.zrange(backlog_keys.taken("toy", "batch"), 0, -1) == [keys.run("other")]


class Observer:
    """Adds up what each two flows get while runs of both wait."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.owners: dict[str, tuple[str, float]] = {}
        self.waiting: Counter[str] = Counter()
        self.got: dict[frozenset[str], Counter[str]] = {}

    def add(self, user: str, charge: float) -> None:
        key = f"{len(self.owners):03}"
        self.owners[key] = (user, charge)
        self.line.add(key, user, charge=charge, preprocess_ms=0)
        self.waiting[user] += 1
        self._keep_busy_pairs()

    def serve(self, most: int) -> None:
        for ref in self.line.take(most).runs if most else ():
            user, charge = self.owners[ref.key]
            self.waiting[user] -= 1
            for pair, got in self.got.items():
                if user in pair:
                    got[user] += charge
            self._keep_busy_pairs()

    def apart(self) -> float:
        """By how much the two flows differ that are furthest apart."""
        pairs = ((*sorted(pair), got) for pair, got in self.got.items())
        return max((abs(got[one] - got[two]) for one, two, got in pairs), default=0)

    def _keep_busy_pairs(self) -> None:
        busy = sorted(user for user, count in self.waiting.items() if count)
        pairs = map(frozenset, combinations(busy, 2))
        self.got = {pair: self.got.get(pair, Counter()) for pair in pairs}


arrivals = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 3)),
    min_size=1,
    max_size=60,
)


@pytest.fixture(scope="module")
def hypothetical(servers: Stack) -> Iterator["redis.Redis"]:
    """A database to empty before each example."""
    with redis.Redis.from_url(servers.env["PIXELMILL_STATE_URL"][:-1] + "8") as client:
        yield client


@given(arrivals)
@settings(max_examples=40, deadline=None)
def test_users_who_both_wait_are_never_further_apart_than_one_run_of_each(
    hypothetical: "redis.Redis", arrivals: list[tuple[str, float, int]]
) -> None:
    """The bound of start-time fair queueing (Goyal, Vin and Cheng, theorem 1)."""
    hypothetical.flushdb()
    observer = Observer(Line(SyncRedis(hypothetical)))

    for user, charge, served in arrivals:
        observer.add(user, charge)
        observer.serve(served)
        assert observer.apart() <= 3.0 + 3.0 + 0.01
    while left := observer.waiting.total():
        observer.serve(16)
        assert observer.waiting.total() < left, "everybody is served"


# Groups


def test_cheap_runs_are_taken_together(line: Line) -> None:
    for number in range(20):
        line.add(f"{number:02}")

    assert [len(line.take().runs) for _ in range(3)] == [16, 4, 0]


def test_a_group_takes_at_most_20_ms(line: Line) -> None:
    for number in range(5):
        line.add(f"{number}", preprocess_ms=8)

    assert [line.take_keys() for _ in range(3)] == [["0", "1"], ["2", "3"], ["4"]]


def test_a_photo_that_takes_long_is_taken_alone(line: Line) -> None:
    for name, preprocess_ms in (("cheap", 1), ("dear", 300), ("later", 1)):
        line.add(name, preprocess_ms=preprocess_ms)

    assert [line.take_keys() for _ in range(3)] == [["cheap"], ["dear"], ["later"]]


def test_models_are_served_in_turns(line: Line) -> None:
    for number in range(3):
        line.add(f"toy-{number}")
    line.add("other", model="other")

    taken = [line.take(1).model for _ in range(4)]

    assert taken == ["toy", "other", "toy", "toy"]


def test_priorities_have_backlogs_of_their_own(line: Line) -> None:
    line.add("batch")
    line.add("person", priority="interactive")

    assert line.take_keys(priority="interactive") == ["person"]
    assert line.take_keys(priority="batch") == ["batch"]


def test_a_run_that_lost_its_worker_is_taken_alone(line: Line) -> None:
    refs = [line.add(name) for name in ("a", "b", "c")]
    line.take(1)
    line.link.do(recovery.requeue([refs[0]], job_ttl_s=60))

    assert [line.take_keys() for _ in range(2)] == [["b", "c"], ["a"]]


def test_a_ticket_that_comes_again_brings_its_own_runs(line: Line) -> None:
    line.add("a")
    first = line.take(ticket="one").runs
    line.add("b")

    again = line.take(ticket="one").runs

    assert list(again) == list(first)
    assert [start.starts for start in again.values()] == [2]


# Room in front of the device


def test_no_more_is_taken_than_there_is_room_for(line: Line) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 3}))
    for number in range(5):
        line.add(f"{number}")

    assert [line.take_keys() for _ in range(2)] == [["0", "1", "2"], []]


def test_a_limit_of_a_model_counts_both_priorities_and_runs_that_are_long_in_preprocess(
    line: Line, state: "redis.Redis"
) -> None:
    line.link.do(backlog.set_credits(1, {"toy": ROOM}, {"toy": 2}))
    line.add("slow")
    line.take()
    state.zadd(backlog_keys.taken("toy", "batch"), {keys.run("slow"): 1})
    for number in range(3):
        line.add(f"{number}", priority="interactive")

    taken = [line.take_keys(priority="interactive") for _ in range(2)]

    assert taken == [["0"], []]


@pytest.mark.parametrize("how", ["inferred", "ended", "requeued", "released"])
def test_there_is_room_again_once_a_run_has_left_its_model(line: Line, how: str) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 1}))
    first = line.add("first")
    line.add("second")
    line.take()
    if how == "inferred":
        line.link.do(runs.end_stage([first], "preprocess", next_queue="gpu.toy"))
        line.link.do(runs.begin_stage([first], "inference"))
        line.link.do(runs.end_stage([first], "inference", next_queue="post"))
    elif how == "ended":
        line.finish([first])
    elif how == "requeued":
        line.link.do(recovery.requeue([first], job_ttl_s=60))
    else:
        line.link.do(recovery.release([first]))

    assert line.take_keys() == ["second"]


def test_batches_leave_room_for_people_and_people_none_for_batches(line: Line) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 2}))
    for number in range(2):
        line.add(f"batch-{number}")
        line.add(f"person-{number}", priority="interactive")
    line.take()

    assert len(line.take(priority="interactive").runs) == 2
    line.finish([RunRef("batch-0", 1), RunRef("batch-1", 1)])
    line.add("more")
    assert line.take_keys() == []


def test_a_model_without_room_keeps_no_other_waiting(line: Line) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 1}))
    line.add("one")
    line.take()
    line.add("two")
    line.add("other", model="other")

    assert line.take_keys() == ["other"]


def test_a_run_that_is_stuck_in_its_first_stage_takes_no_room(
    line: Line, state: "redis.Redis"
) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 1}))
    line.add("stuck")
    line.take()
    line.add("next")
    before = line.take_keys()
    state.zincrby(backlog_keys.taken("toy", "batch"), -6000, keys.run("stuck"))

    assert (before, line.take_keys()) == ([], ["next"])


# Tickets


def tickets(state: "redis.Redis") -> int:
    return state.llen("cpu-batch")


def test_a_ready_run_calls_a_worker(line: Line, state: "redis.Redis") -> None:
    line.add("one")

    assert state.lrange("cpu-batch", 0, -1) == ["ticket-1"]


def test_no_ticket_is_queued_where_enough_wait(line: Line, state: "redis.Redis") -> None:
    line.link.do(backlog.set_credits(2, {"toy": ROOM}))

    for number in range(5):
        line.add(f"{number}")

    assert tickets(state) == 2


def test_who_takes_some_calls_another_worker_for_the_rest(line: Line, state: "redis.Redis") -> None:
    for number in range(20):
        line.add(f"{number:02}")
    state.delete("cpu-batch")

    line.take()
    after_16 = tickets(state)
    state.delete("cpu-batch")
    line.take()

    assert (after_16, tickets(state)) == (1, 0)


def test_nobody_is_called_while_there_is_no_room_and_somebody_is_when_there_is(
    line: Line, state: "redis.Redis"
) -> None:
    line.link.do(backlog.set_credits(1, {"toy": 1}))
    first = line.add("first")
    state.delete("cpu-batch")
    line.take()
    line.add("second")
    before = tickets(state)
    line.link.do(runs.end_stage([first], "preprocess", next_queue="gpu.toy"))
    line.link.do(runs.begin_stage([first], "inference"))

    line.link.do(
        stages.end_stage(
            [first], stage="inference", state="inferring", progress=0.8, model="toy",
            priority="batch", next_queue="post", next_broker_queue="cpu", message=None,
            job_ttl_s=60, expired="{}", tickets=TICKETS,
        )
    )  # fmt: skip

    assert (before, tickets(state)) == (0, 1)


def test_a_lost_ticket_is_queued_again(line: Line, state: "redis.Redis") -> None:
    line.add("one")
    state.delete("cpu-batch")

    queued = [line.link.do(backlog.call_workers(TICKETS)) for _ in range(2)]

    assert (queued, tickets(state)) == ([1, 0], 1)


def test_an_empty_backlog_calls_nobody(line: Line, state: "redis.Redis") -> None:
    line.add("one")
    state.delete("cpu-batch")
    line.take()

    assert line.link.do(backlog.call_workers(TICKETS)) == 0


# What is left behind


def test_flows_that_are_served_are_forgotten(line: Line, state: "redis.Redis") -> None:
    for number in range(20):
        line.add(f"{number:02}", f"user-{number}")
    line.add("last", "ada")
    line.add("more", "ada")

    line.take_all()

    assert len(state.zrange(backlog_keys.finish_tags("toy", "batch"), 0, -1)) == 1


def test_ended_runs_leave_nothing_in_the_backlog(line: Line, state: "redis.Redis") -> None:
    refs = [line.add(f"{number}") for number in range(3)]
    line.take(1)

    line.finish(refs)

    assert not state.exists(
        backlog_keys.backlog("toy", "batch"), backlog_keys.taken("toy", "batch")
    )
    assert not line.take().runs and not state.exists(backlog_keys.turns("batch"))
