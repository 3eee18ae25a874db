"""make bench-hit_turns ARGS="--old DIR": what a cached answer costs here and in an old build.

Both builds run at the same time and are asked in turns of a second each, since the speed of the
machine changes within seconds: what is compared is each burst with its neighbour.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from load import closed_loop
from table import save, show, verdict

NEW = Path(__file__).parent.parent.parent
PAIRS = 25
MOST = 1.05
"""Times the CPU of the old build."""
SERVE = """
import json, sys, tempfile
from pathlib import Path
sys.path[:0] = ["tests/bench", "tests"]
import hit
from stack import Stack
with tempfile.TemporaryDirectory() as folder, \\
        Stack(Path(folder), {"PIXELMILL_MODELS": "matting"}).start_all() as stack:
    photo = hit._photo()
    hit._misses(stack, photo)
    wanted = {"json": hit._by_hash(stack, photo), "predict": hit._by_body(stack, photo)}
    wanted = {door: data.decode("latin-1") for door, data in wanted.items()}
    print(json.dumps({"url": stack.url, "pid": stack.processes["web"].pid, "wanted": wanted}))
    sys.stdout.flush()
    sys.stdin.read()
"""
"""Run in a checkout: starts it, and says what to ask of whom."""


def main() -> None:
    """Run, print the table, say what costs more than it did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="a checkout of the old build")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    chosen = parser.parse_args()
    rows, figures = [], {}
    with ExitStack() as servers:
        old, new = (servers.enter_context(served(path)) for path in (chosen.old.resolve(), NEW))
        for door in ("json", "predict"):
            for clients in (1, 16):
                for server in (old, new):
                    burst(server, door, clients)  # warm
                pairs = [
                    (burst(old, door, clients), burst(new, door, clients))
                    for _ in range(chosen.pairs)
                ]
                name = f"{door}_{clients}"
                ratios = sorted(after / before for before, after in pairs)
                figures[f"{name}_ratio"] = round(statistics.median(ratios), 3)
                figures[f"{name}_old_ms"], figures[f"{name}_new_ms"] = (
                    round(statistics.median(side), 3) for side in zip(*pairs, strict=True)
                )
                low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
                spread = f"{low:.2f} to {high:.2f}"
                rows.append([door, clients, *(figures[f"{name}_{k}"] for k in KEYS), spread])
    show(
        f"web CPU ms a hit, {chosen.pairs} pairs of bursts",
        ["door", "clients", "old", "new", "median ratio", "middle half of ratios"],
        rows,
    )
    print()
    for door, clients, *_ in rows:
        ratio = figures[f"{door}_{clients}_ratio"]
        verdict(f"{door}, {clients} clients, times the old", ratio, MOST)
    save("hit_turns", figures)


KEYS = ("old_ms", "new_ms", "ratio")


@contextmanager
def served(checkout: Path) -> Iterator[dict[str, Any]]:
    """A running installation of this checkout: its address, web's pid and what to send."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=checkout,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdin
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(60)


def burst(server: dict[str, Any], door: str, clients: int) -> float:
    """CPU ms of the web process a hit, over about a second."""
    wanted = server["wanted"][door].encode("latin-1")
    before = cpu_ns(server["pid"])
    answers = closed_loop(
        server["url"], repeat(wanted), clients=clients, most=1500 if clients > 1 else 500
    )
    assert set(answers.statuses) == {200}, answers.statuses
    return (cpu_ns(server["pid"]) - before) / 1e6 / len(answers.latencies_ms)


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all threads of a process have been on a CPU."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


if __name__ == "__main__":
    main()
