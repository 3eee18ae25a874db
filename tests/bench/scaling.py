"""make bench-scaling: 1, 2, 4 and 8 device workers on one queue, 200 + 25n ms a batch.

Runs are posted in messages of 8, as many as all devices need for some seconds. The devices are
simulated and cost no CPU: what stands in their way is ours. CPU is shown per image and process, and
from it what all of it would come to with a hundred such devices.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from queued import Queued
from stack import REPOSITORY, Stack

from storage import catalogue
from storage.redis import calls

A_MS, B_MS, BATCH = 200.0, 25.0, 16
RAW = 1000 * BATCH / (A_MS + B_MS * BATCH)
"""Images per second of one device, on paper."""
DEVICES = (1, 2, 4, 8)
BATCHES = setting("BATCHES", 24, "full batches of each device a row")
"""Full batches of each device in a row of the table."""
MANY = 100


def main() -> None:
    parser(__doc__).parse_args()
    figures: dict[str, float] = {"raw_images_per_s": round(RAW, 2)}
    rows = []
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory:
        folder = Path(memory)
        with Stack(folder, _env(folder)) as stack:
            stack.start_servers()
            stack.start("cpu-worker", [sys.executable, "-m", "workers", "cpu"])
            for count in DEVICES:
                _start(stack, count)
                measured = _measure(stack, count)
                figures |= {f"devices_{count}_{name}": value for name, value in measured.items()}
                cpu = (
                    measured[f"{name}_cpu_ms"] for name in ("cpu_worker", "gpu_workers", "redis")
                )
                rows.append(
                    [
                        count,
                        f"{measured['images_per_s']:.1f}",
                        f"{measured['efficiency'] * 100:.0f} %",
                        f"{measured['mean_batch']:.1f}",
                        f"{measured['busiest_share']:.2f}",
                        " / ".join(f"{ms:.2f}" for ms in cpu),
                    ]
                )
    header = ["devices", "images/s", "of raw", "mean batch", "busiest", "CPU ms: cpu / gpu / Redis"]
    show(f"{A_MS:g} + {B_MS:g}n ms: one device does {RAW:.1f} images/s", header, rows)
    print("busiest: images of the busiest device, in those of an equal share\n")
    _on_paper(figures)
    verdict("efficiency of 8 devices", figures["devices_8_efficiency"], 0.9, at_most=False)
    save("scaling", figures)


def _env(folder: Path) -> dict[str, str]:
    return {
        "SIMULATED": f"a={A_MS} b={B_MS} log={folder / 'batches'}",
        "PIXELMILL_MODELS": "simulated",
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "models"),
        "PIXELMILL_S3_URL": f"file://{folder / 's3'}",
        "PIXELMILL_SCRATCH_DIR": str(folder),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_THREADS": "1",
        "PIXELMILL_TASK_EVENTS": "false",
    }


def _start(stack: Stack, count: int) -> None:
    """So many gpu workers in all, each announced."""
    names = [f"gpu-worker-{number}" for number in range(1, count + 1)]
    for name in names:
        if name not in stack.processes:
            stack.start(name, [sys.executable, "-m", "workers", "gpu"])
    link = calls.SyncRedis(stack.state)

    def all_live() -> bool:
        workers = link.do(catalogue.read()).workers
        return sum("gpu.simulated" in worker["queues"] for worker in workers) == count

    stack.wait_for(names[-1], all_live)


def _measure(stack: Stack, count: int) -> dict[str, float]:
    names = [name for name in stack.processes if name.startswith("gpu-worker")]
    groups = {"cpu_worker": ["cpu-worker"], "gpu_workers": names, "redis": ["state"]}
    queued = Queued(stack, "simulated", first=count * 1_000_000)
    log = stack.folder / "batches"
    log.write_text("")
    runs = count * BATCHES * BATCH
    refs = [queued.claim() for _ in range(runs)]
    before = {group: stack.cpu_s(*members) for group, members in groups.items()}
    began = time.perf_counter()
    queued.post(refs, 8)
    queued.wait()
    per_s = runs / (time.perf_counter() - began)
    batches = [line.split() for line in log.read_text().splitlines()]
    images: Counter[str] = Counter()
    for n, _, _, _, process in batches:
        images[process] += int(n)
    spent = {
        f"{group}_cpu_ms": round((stack.cpu_s(*members) - before[group]) * 1000 / runs, 3)
        for group, members in groups.items()
    }
    return {
        "images_per_s": round(per_s, 2),
        "efficiency": round(per_s / (count * RAW), 3),
        "mean_batch": round(runs / len(batches), 2),
        "busiest_share": round(max(images.values()) / (runs / count), 3),
        **spent,
    }


def _on_paper(figures: dict[str, float]) -> None:
    """What a hundred such devices would ask of everything else, by the last row's CPU."""
    wanted = MANY * RAW
    last = f"devices_{DEVICES[-1]}"
    print(f"on paper, {MANY} devices: {wanted:.0f} images/s need")
    for group in ("cpu_worker", "gpu_workers", "redis"):
        ms = figures[f"{last}_{group}_cpu_ms"]
        cores = wanted * ms / 1000
        figures[f"paper_{group}_cores"] = round(cores, 2)
        print(f"  {group:<12} {cores:6.2f} cores ({ms:.2f} ms an image)")
    most = 1000 / figures[f"{last}_redis_cpu_ms"]
    figures["paper_redis_images_per_s"] = round(most)
    print(f"  Redis has one thread for all: {most:.0f} images/s, {most / RAW:.0f} devices\n")


if __name__ == "__main__":
    main()
