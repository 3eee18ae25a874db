"""make bench-traces: what traces cost: CPU of web and workers per job, off, 10 % and all sampled.

The no-op chain of `make bench-chain`, one job at a time. The installations stand side by side and
take turns. Their spans go to a collector in this process, whose CPU does not count.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from chain import MODELS, Ours
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from otlp_receiver import Receiver, receiving
from stack import Stack

JOBS = setting("JOBS", 1200, "jobs of each side")
ROUNDS = 12
GOAL = 1.03
"""CPU per job with a tenth of the runs sampled, as a multiple of that without traces."""
PROGRAMS = ("web", "cpu-worker", "gpu-worker")
TITLES = {"off": "no traces", "tenth": "10 % sampled", "all": "all sampled"}


def main() -> None:
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, receiving() as receiver, ExitStack() as stacks:
        sides = {
            name: stacks.enter_context(side(Path(folder) / name, env))
            for name, env in _environments(receiver).items()
        }
        turns = [
            {name: cpu_ms(side, JOBS // ROUNDS) for name, side in sides.items()}
            for _ in range(ROUNDS)
        ]
    ms = {name: median(turn[name] for turn in turns) for name in sides}
    times = {name: median(turn[name] / turn["off"] for turn in turns) for name in sides}
    rows = [[TITLES[name], f"{ms[name]:.2f}", f"{times[name]:.3f}"] for name in sides]
    show(f"{JOBS} jobs, one at a time", ["what", "CPU ms/job", "times without"], rows)
    print(f"spans received: {len(receiver.spans)}\n")
    verdict("CPU per job with 10 % sampled, times without traces", round(times["tenth"], 3), GOAL)
    figures = {f"{name}_cpu_ms": round(value, 3) for name, value in ms.items()}
    save("traces", figures | {f"{name}_times": round(value, 3) for name, value in times.items()})


def _environments(receiver: Receiver) -> Mapping[str, Mapping[str, str]]:
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    return {"off": {}, "tenth": sent | tenth, "all": sent}


@contextmanager
def side(folder: Path, env: Mapping[str, str]) -> Iterator[Ours]:
    """An installation with the no-op model."""
    folder.mkdir()
    own = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": "false",
    }
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory:
        own["PIXELMILL_S3_URL"] = f"file://{memory}"
        with Stack(folder, {**own, **env}).start_all() as stack:
            yield Ours(stack)


def cpu_ms(side: Ours, jobs: int) -> float:
    """Of web and workers, per job of so many, one after another."""
    before = side.stack.cpu_s(*PROGRAMS)
    side.run(jobs)
    return (side.stack.cpu_s(*PROGRAMS) - before) * 1000 / jobs


if __name__ == "__main__":
    main()
