"""make bench-overhead: what the pilot costs: CPU per job, and of a web process at rest.

The no-op chain of `make bench-chain`, one job at a time, in two installations side by side that
take turns. In one of them this process holds the pilot's lease, so that nobody looks there.
"""

import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from chain import Ours
from traces import cpu_ms, side

from storage import pilot
from storage.redis.calls import SyncRedis

JOBS = setting("JOBS", 1200, "jobs of each side")
IDLE_S = setting("IDLE_S", 60.0, "seconds at rest")
ROUNDS = 12
GOAL, IDLE_GOAL = 1.02, 0.5
"""CPU per job, as a multiple of that without the pilot; and percent of a core at rest."""
LEASE_S = 4.0


def main() -> None:
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stacks:
        sides = {
            name: stacks.enter_context(side(Path(folder) / name, {})) for name in ("without", "on")
        }
        is_over = threading.Event()
        stacks.callback(is_over.set)
        threading.Thread(target=_lead, args=(sides["without"], is_over), daemon=True).start()
        time.sleep(pilot.LEASE_MS / 1000)  # the lease of its own web process runs out
        turns = [
            {name: cpu_ms(of, JOBS // ROUNDS) for name, of in sides.items()} for _ in range(ROUNDS)
        ]
        at_rest = _at_rest(sides)
    ms = {name: median(turn[name] for turn in turns) for name in sides}
    times = median(turn["on"] / turn["without"] for turn in turns)
    rows = [[name, f"{ms[name]:.2f}", *(f"{of:.3f} %" for of in at_rest[name])] for name in sides]
    heads = ["pilot", "CPU ms/job", "web at rest", "state Redis at rest"]
    show(f"{JOBS} jobs, one at a time; {IDLE_S:g} s at rest, of a core", heads, rows)
    costs = [on - without for on, without in zip(at_rest["on"], at_rest["without"], strict=True)]
    verdict("CPU per job with the pilot, times without", round(times, 3), GOAL)
    verdict("at rest, percent of a core, web and Redis", round(sum(costs), 3), IDLE_GOAL)
    figures = {f"{name}_cpu_ms": round(value, 3) for name, value in ms.items()}
    figures |= {"web_percent": round(costs[0], 3), "redis_percent": round(costs[1], 3)}
    save("overhead", figures | {"times": round(times, 3)})


def _lead(side: Ours, is_over: threading.Event) -> None:
    """Be the pilot, and do nothing."""
    link = SyncRedis(side.stack.state)
    while not is_over.is_set():
        link.do(pilot.lead("bench"))
        is_over.wait(LEASE_S)


def _at_rest(sides: dict[str, Ours]) -> dict[str, list[float]]:
    """Percent of a core of the web process and of the state Redis, both sides at the same time."""
    programs = ("web", "state")
    before = {name: [of.stack.cpu_s(one) for one in programs] for name, of in sides.items()}
    time.sleep(IDLE_S)
    after = {name: [of.stack.cpu_s(one) for one in programs] for name, of in sides.items()}
    return {
        name: [
            100 * (new - old) / IDLE_S for new, old in zip(after[name], before[name], strict=True)
        ]
        for name in sides
    }


if __name__ == "__main__":
    main()
