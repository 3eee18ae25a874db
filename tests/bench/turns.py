"""make bench-turns ARGS="--old DIR hit chain lists sse": CPU of an old checkout beside this one.

The speed of a machine changes within seconds, so that figures of two builds compare only side by
side: `hit`, `chain` and `lists` run both installations at the same time and ask them in turns of
about a second. `sse` runs the whole bench of the old build, then of the new, and so on. What is
compared is each figure of the old build with its neighbour of the new one; the median counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from table import save, show, verdict

NEW = Path(__file__).parent.parent.parent
SIDE = Path(__file__).parent / "turns_side.py"
SIDE_BY_SIDE = ("hit", "chain", "lists")
PAIRS, ROUNDS = 25, 3
QUICK = {"BENCH_SECONDS": "4", "BENCH_STREAMS": "200"}
"""Shorter turns of a whole bench, unless the environment says otherwise."""

Pairs = Sequence[tuple[float, float]]
"""Of one figure: CPU ms of the old build, and of the new one next to it."""


def main() -> None:
    """Run, print the tables, say what costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="a checkout of the old build")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns of hit, chain, lists")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of sse")
    parser.add_argument("--goal", type=float, default=1.05, help="times the CPU of the old build")
    parser.add_argument("benches", nargs="+", choices=(*SIDE_BY_SIDE, "sse"), metavar="bench")
    chosen = parser.parse_args()
    old, figures = chosen.old.resolve(), {}
    for bench in chosen.benches:
        if bench in SIDE_BY_SIDE:
            pairs = side_by_side(old, bench, chosen.pairs)
        else:
            pairs = one_after_another(old, bench, chosen.rounds)
        figures |= compared(bench, pairs, chosen.goal)
    save("turns", figures)


def side_by_side(old: Path, bench: str, count: int) -> dict[str, Pairs]:
    """Both installations at the same time."""
    with ExitStack() as sides:
        before, after = (sides.enter_context(Side.started(path, bench)) for path in (old, NEW))
        pairs: dict[str, list[tuple[float, float]]] = {}
        for name in after.names:
            before.measure(name), after.measure(name)  # warm
            pairs[name] = [(before.measure(name), after.measure(name)) for _ in range(count)]
        return dict(pairs)


class Side:
    """A running installation of a checkout: see turns_side.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin and process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.names: list[str] = json.loads(self._out.readline())

    @classmethod
    @contextmanager
    def started(cls, checkout: Path, bench: str) -> Iterator["Side"]:
        """One that ends with the context."""
        process = subprocess.Popen(
            [sys.executable, str(SIDE), bench],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(60)

    def measure(self, name: str) -> float:
        """CPU ms a job, over about a second."""
        print(name, file=self._in, flush=True)
        return float(self._out.readline())


def one_after_another(old: Path, bench: str, rounds: int) -> dict[str, Pairs]:
    """The whole bench of each in turns; its figures of CPU."""
    turns = [(run_bench(old, bench), run_bench(NEW, bench)) for _ in range(rounds)]
    names = [name for name in turns[0][0] if name.endswith("cpu_ms")]
    ours = [name for name in names if not name.startswith(("bare", "gradio", "foreign"))]
    return {name: [(before[name], after[name]) for before, after in turns] for name in ours}


def run_bench(checkout: Path, bench: str) -> dict[str, float]:
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


def compared(bench: str, pairs: Mapping[str, Pairs], goal: float) -> dict[str, float]:
    """Prints the medians of each figure and of its ratios, and the middle half of those."""
    rows, figures = [], {}
    for name, each in pairs.items():
        before, after = (statistics.median(side) for side in zip(*each, strict=True))
        ratios = sorted(new / old for old, new in each)
        ratio = statistics.median(ratios)
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        figures[f"{bench}: {name}, ratio"] = round(ratio, 3)
        spread = f"{low:.2f} to {high:.2f}"
        rows.append([name, f"{before:.3f}", f"{after:.3f}", f"{ratio:.3f}", spread])
    count = max(map(len, pairs.values()))
    header = ["figure", "old", "new", "ratio", "middle half"]
    show(f"{bench}, CPU ms a job, {count} pairs", header, rows)
    print()
    for name in pairs:
        verdict(f"{bench}, {name}, times the old", figures[f"{bench}: {name}, ratio"], goal)
    return figures


if __name__ == "__main__":
    main()
