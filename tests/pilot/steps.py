"""What `make pilot` does to the installation, and what must come of it.

Each step raises AssertionError where something does not hold that is no time; times are figures,
which run.py judges.
"""

import re
import signal
import sys
import time
from itertools import pairwise

import slow_model
from mill import COOLDOWN_S, MODEL, MOST_WORKERS, TARGET_S, Mill, until

from storage import pilot
from storage.pilot_log import Decision

Figures = dict[str, float]
BASE_PER_S = 1.6
"""One worker is busy three quarters of its time."""


def load_step(mill: Mill) -> Figures:
    """Three times the load: three workers come, jobs are quick again, and two workers go."""
    mill.per_s = BASE_PER_S
    time.sleep(30)
    assert mill.order.workers == 1, "one worker is enough for the load before the step"
    mill.per_s = 3 * BASE_PER_S
    began = time.monotonic()
    ordered_s = until(lambda: mill.order.workers == MOST_WORKERS, 120)
    until(lambda: mill.live == MOST_WORKERS, 120)
    live_s = time.monotonic() - began
    until(lambda: mill.p95_s(15) < TARGET_S, 120)
    quick_s = time.monotonic() - began
    mill.per_s = BASE_PER_S
    down_s = until(lambda: mill.order.workers == 1, 180)
    until(lambda: mill.live == 1, 90)
    mill.drain()
    _check_numbers(mill.done("scale"))
    return {
        "ordered_s": ordered_s,
        "live_s": live_s,
        "quick_again_s": quick_s,
        "down_s": down_s,
        "runs": len(mill.answers),
        "lost": _lost(mill),
    }


def slow_device(mill: Mill) -> Figures:
    """A device that is four times slower: lighter profiles, which answers say, and back again."""
    mill.per_s = BASE_PER_S
    mill.slow.touch()
    degraded_s = until(lambda: mill.order.profile == "fast", 240)
    time.sleep(1)  # web processes read orders once a second
    answer, explicit = mill.ask(), mill.ask(profile="best")
    assert answer["degraded"] and "best" in answer["degraded_reason"], answer
    assert not explicit["degraded"] and explicit["degraded_reason"] is None, explicit
    mill.slow.unlink()
    recovered_s = until(lambda: not mill.order.profile, 240)
    time.sleep(1)
    assert not mill.ask()["degraded"]
    until(lambda: mill.p95_s(15) < TARGET_S, 120)
    mill.drain()
    _check_numbers([*mill.done("degrade"), *mill.done("recover")])
    told = sum(bool(of.reason) for of in mill.answers)
    return {
        "degraded_s": degraded_s,
        "recovered_s": recovered_s,
        "told_degraded": told,
        "lost": _lost(mill),
    }


def flapping(mill: Mill) -> Figures:
    """Much and nothing in turns: no rule acts twice within its cooldown."""
    for _ in range(6):
        mill.per_s = 8
        time.sleep(4)
        mill.per_s = 0
        time.sleep(4)
    mill.drain()
    gaps = [
        (after.at_ms - before.at_ms) / 1000
        for rule in {of.rule for of in mill.log()}
        for after, before in pairwise(mill.done(rule))
    ]
    shortest_s = min(gaps, default=float("inf"))
    assert shortest_s > COOLDOWN_S - 0.5, f"{shortest_s:.1f} s between two actions"
    return {"actions": len(mill.done("scale")), "shortest_gap_s": shortest_s, "lost": _lost(mill)}


def failing_version(mill: Mill) -> Figures:
    """A version that fails for every fifth photo is tried, rolled back, and somebody is called."""
    until(lambda: mill.order.version, 30)
    before, folder = mill.order.version, mill.stack.folder / "new-models"
    slow_model.write(folder, mill.slow, fails=True)
    env = {"PIXELMILL_MODEL_PATHS": str(folder)}
    for kind in ("cpu", "gpu"):
        mill.stack.start(f"{kind}-worker-new", [sys.executable, "-m", "workers", kind], env)
    until(lambda: mill.order.canary, 120)
    bad, mill.per_s = mill.order.canary, 2
    until(lambda: _ended(mill, bad) >= 50, 180)
    back_s, rolled_back = until(lambda: bad in mill.order.refused, 120), time.monotonic()
    mill.drain()
    assert mill.order.version == before
    decisions = mill.done("roll back")
    assert len(decisions) == 1, "it is rolled back once"
    _check_numbers(decisions)
    until(lambda: ("pager", "PixelmillRolledBack") in mill.webhook.heard, 90)
    called_s = time.monotonic() - rolled_back
    for kind in ("gpu", "cpu"):
        mill.stack.processes[f"{kind}-worker-new"].send_signal(signal.SIGTERM)
    failures = decisions[0].values["failures"] or 0.0
    return {
        "back_s": back_s,
        "judged_runs": decisions[0].samples,
        "failures_percent": 100 * failures,
        "alert_within_s": called_s,
    }


def silent_redis(mill: Mill) -> Figures:
    """The state Redis does not answer: nothing is decided, and afterwards it goes on."""
    mill.drain()
    until(lambda: mill.order.workers == 1 and mill.live <= 2, 180)
    time.sleep(6)
    before, running = len(mill.log()), mill.supervisor.pids
    process = mill.stack.processes["state"]
    process.send_signal(signal.SIGSTOP)
    time.sleep(12)
    process.send_signal(signal.SIGCONT)
    actions = len(mill.log()) - before
    assert not actions and mill.supervisor.pids == running
    seen_s = until(
        lambda: pilot.is_fresh(mill.link.do(pilot.views())[MODEL], time.time() * 1000), 60
    )
    return {"actions": actions, "sees_again_s": seen_s}


def _check_numbers(decisions: list[Decision]) -> None:
    """Each decision says in the log why, with numbers and their limits."""
    assert decisions, "the log has no decision"
    for of in decisions:
        assert of.values and of.thresholds and re.search(r"\d", of.reason), of


def _lost(mill: Mill) -> int:
    lost = [of.state for of in mill.answers if of.state != "done"]
    assert not lost, lost
    return len(lost)


def _ended(mill: Mill, version: str) -> int:
    """Runs of a version that have ended."""
    fields = mill.stack.state.hgetall(f"px3:metrics:{MODEL}:all")
    names = (f"done@{version}", f"failed@{version}")
    return sum(int(fields.get(name.encode(), 0)) for name in names)
