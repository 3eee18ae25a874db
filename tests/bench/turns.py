"""make bench-turns ARGS="--old DIR hit sse chain": benches of an old checkout and of this in turns.

The machine's speed changes by the minute, so that figures of two builds compare only within one
run: each bench runs for the old build, then for the new, and so on; what is compared is the median
of each figure of CPU, and the ratio of each pair of neighbours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from table import save, show, verdict

NEW = Path(__file__).parent.parent.parent
ROUNDS = 3
MOST = 1.05
"""Times the CPU of the old build."""
QUICK = {"BENCH_SECONDS": "4", "BENCH_STREAMS": "200", "BENCH_JOBS": "240"}
"""Shorter turns, unless the environment says otherwise."""


def main() -> None:
    """Run, print the table, say what costs more than it did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="a checkout of the old build")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("benches", nargs="+", help="hit, sse, chain")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    for bench in chosen.benches:
        pairs = [(run(chosen.old.resolve(), bench), run(NEW, bench)) for _ in range(chosen.rounds)]
        figures |= compared(bench, pairs)
    save("turns", figures)


def run(checkout: Path, bench: str) -> dict[str, float]:
    """The figures of one bench of one checkout."""
    env = {**QUICK, **os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, f"tests/bench/{bench}.py"]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{bench} of {checkout} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    figures: dict[str, float] = json.loads((checkout / f"var/bench/{bench}.json").read_text())
    return figures


def compared(
    bench: str, pairs: list[tuple[dict[str, float], dict[str, float]]]
) -> dict[str, float]:
    """Old and new of every figure of CPU, and the median of their ratios."""
    names = [name for name in pairs[0][0] if name.endswith("cpu_ms")]
    rows, figures = [], {}
    for name in names:
        old = [one[name] for one, _ in pairs]
        new = [one[name] for _, one in pairs]
        ratio = statistics.median(n / o for o, n in zip(old, new, strict=True))
        figures[f"{bench}_{name}_ratio"] = round(ratio, 3)
        rows.append([name, _all(old), _all(new), f"{ratio:.3f}"])
    show(f"{bench}, CPU ms", ["figure", "old", "new", "median ratio"], rows)
    for name in names:
        if not name.startswith(("bare", "gradio", "foreign")):  # no build of ours, or next to none
            verdict(f"{bench} {name}, times the old", figures[f"{bench}_{name}_ratio"], MOST)
    return figures


def _all(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


if __name__ == "__main__":
    main()
