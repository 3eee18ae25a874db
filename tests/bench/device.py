"""make bench-device: how well the queue keeps a device busy, beside the raw loop and LitServe.

The device is simulated: a batch of n takes a + b*n ms, one at a time. Two curves, batches up to 16:
slow (40 + 5n) and fast (8 + 0.5n). "Queued" runs are claimed, then posted all at once in messages
of 1 or 8; "clients" each send one photo through the web process and wait for it, and workers take
together what waits. S3 is a folder in memory, and Flower's events are off. Goals are shares of the
raw loop and multiples of LitServe in the same run. `--curve fast` measures one of the two, into
var/bench/device-fast.json.
"""

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from load import Answers, closed_loop, request
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from queued import Queued, result_of
from stack import API_KEY, REPOSITORY, Stack

from storage import keys
from tasks.settings import read

sys.path.insert(0, str(REPOSITORY / "tests" / "models"))
import simulated

CURVES = {"slow": (40.0, 5.0), "fast": (8.0, 0.5)}
CLIENTS = (1, 16, 32, 64)
BATCH = 16
SECONDS = setting("SECONDS", 4.0, "seconds a row")
OURS = ("web", "cpu-worker", "gpu-worker", "state")
LITSERVE_WAITS_S = (0.0, 0.01)
"""Its default, which spins, and a wait; the better of the two is shown."""

Figures = dict[str, float]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--curve", choices=CURVES, help="only this one")
    only = options.parse_args().curve
    figures: Figures = {"cores": os.cpu_count() or 0}
    for curve in [only] if only else CURVES:
        figures |= {f"{curve}_{name}": value for name, value in _curve(curve).items()}
        VERDICTS[curve](figures)
    save(f"device-{only}" if only else "device", figures)


def _curve(curve: str) -> Figures:
    raw = _raw(curve)
    with _stack(curve, PIXELMILL_BATCH_MEGAPIXELS="0.0001") as stack:
        unbatched = Queued(stack, "simulated").per_s(8, _runs(_raw_per_s(curve, 1)))
    with _stack(curve) as stack:
        ours, rows = _ours(stack, raw)
    with _stack(curve, web=False) as stack:
        array = simulated.preprocess(None, simulated.Simulated())
        installation = read(None, secret=stack.env["PIXELMILL_SECRET"]).installation
        queued = Queued(stack, "simulated")
        queued.stage_alone_per_s(array, installation, 64)  # warm-up
        alone = queued.stage_alone_per_s(array, installation, _runs(raw))
        stage_batch = _mean_batch(stack)
    theirs, their_rows = _litserve(curve)
    figures = {
        "raw_images_per_s": raw,
        "unbatched_images_per_s": unbatched,
        "stage_alone_images_per_s": alone,
        "stage_alone_mean_batch": stage_batch,
        **ours,
        **theirs,
    }
    a, b = CURVES[curve]
    rows = [
        ["raw loop, batches of 16", "-", f"{raw:.0f}", "-", "-", "16.0", "-"],
        ["queued, 8 a message, no batching", "-", f"{unbatched:.0f}", "-", "-", "1.0", "-"],
        ["gpu stage alone, 1 a message", "-", f"{alone:.0f}", "-", "-", f"{stage_batch:.1f}", "-"],
        *rows,
        *their_rows,
    ]
    header = ["what", "in flight", "images/s", "p50 ms", "p95 ms", "mean batch", "CPU ms/image"]
    show(f"{curve}: {a:g} + {b:g}n ms", header, rows)
    return {name: round(value, 3) for name, value in figures.items()}


def _raw_per_s(curve: str, n: int) -> float:
    """On paper."""
    a, b = CURVES[curve]
    return 1000 * n / (a + b * n)


def _runs(per_s: float) -> int:
    """Runs of about SECONDS + 2: what begins and ends such a row is a small part of it."""
    return max(64, int(per_s * (SECONDS + 2)) // 16 * 16)


def _setting(curve: str) -> str:
    a, b = CURVES[curve]
    return f"a={a} b={b}"


def _raw(curve: str) -> float:
    """Images per second of the bare device in a loop, batches of 16."""
    os.environ["SIMULATED"] = _setting(curve)
    device, batch = simulated.load({}, "cpu"), torch.zeros((BATCH, 3, 32, 32))
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS / 2:
        device.run(batch)
        count += BATCH
    return count / (time.perf_counter() - began)


@contextmanager
def _stack(curve: str, web: bool = True, **more: str) -> Iterator[Stack]:
    """All of it in front of a simulated device; without web and cpu worker if so wanted."""
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory:
        folder = Path(memory)
        env = {
            "SIMULATED": f"{_setting(curve)} log={folder / 'batches'}",
            "PIXELMILL_MODELS": "simulated",
            "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "models"),
            "PIXELMILL_S3_URL": f"file://{folder / 's3'}",
            "PIXELMILL_SCRATCH_DIR": memory,
            "PIXELMILL_THREADS": "1",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_MAX_IN_FLIGHT": "100000",
            "PIXELMILL_MAX_WAITING": "100000",
            "PIXELMILL_MAX_WAIT_INTERACTIVE_S": "100000",
            **more,
        }
        with Stack(folder, env) as stack:
            if web:
                yield stack.start_all()
                return
            stack.start_servers()
            stack.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"])
            stack.wait_for("gpu-worker", lambda: stack.state.exists(keys.WORKERS))
            yield stack


def _ours(stack: Stack, raw: float) -> tuple[Figures, list[list[object]]]:
    figures, rows = _idle(stack), []
    queued = Queued(stack, "simulated")
    queued.per_s(8, 64)  # warm-up
    for name, size in (("single", 1), ("pixelmill", 8)):
        _forget_batches(stack)
        runs = _runs(raw if size == 8 else min(raw, 300))
        before, refs = _cpu_s(stack), [queued.claim() for _ in range(runs)]
        began = time.perf_counter()
        before = _cpu_s(stack)  # the claims are the bench's own
        queued.post(refs, size)
        queued.wait()
        per_s = runs / (time.perf_counter() - began)
        cpu, batch = _cpu_ms(stack, before, runs), _mean_batch(stack)
        figures |= {f"{name}_images_per_s": per_s, f"{name}_mean_batch": batch}
        figures |= {f"{name}_{process}_cpu_ms": ms for process, ms in cpu.items()}
        what = f"queued, {size} a message"
        rows.append([what, runs, f"{per_s:.0f}", "-", "-", f"{batch:.1f}", _cells(cpu)])
    for count in CLIENTS:
        _forget_batches(stack)
        before = _cpu_s(stack)
        answers = _clients(stack, count)
        cpu, batch = _cpu_ms(stack, before, len(answers.latencies_ms)), _mean_batch(stack)
        figures |= _of(f"clients_{count}", answers) | {f"clients_{count}_mean_batch": batch}
        figures |= {f"clients_{count}_{process}_cpu_ms": ms for process, ms in cpu.items()}
        rows.append(["clients, a photo each", count, *_row(answers, f"{batch:.1f}", _cells(cpu))])
    figures["poison_collateral"] = _poison(stack, queued)
    return figures, rows


def _idle(stack: Stack) -> Figures:
    """CPU of each process while nobody asks for anything, in % of a core."""
    time.sleep(2)
    before, began = _cpu_s(stack), time.perf_counter()
    time.sleep(SECONDS + 2)
    spent_s = time.perf_counter() - began
    return {
        f"idle_{name}_percent": (after - before[name]) / spent_s * 100
        for name, after in _cpu_s(stack).items()
    }


def _clients(stack: Stack, count: int) -> Answers:
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    url = f"{stack.url}/api/v1/jobs?wait=30"
    upload, salts = stack.upload("simulated"), itertools.count(count * 100_000)
    asked = ({"upload": upload, "model": "simulated", "params": {"salt": salt}} for salt in salts)
    requests = (request(url, headers, json.dumps(job).encode()) for job in asked)
    answers = closed_loop(url, requests, clients=count, seconds=SECONDS)
    assert set(answers.statuses) == {200}, answers.statuses
    return answers


def _poison(stack: Stack, queued: Queued) -> float:
    """Good images of a message of eight that failed because one of the eight is poison."""
    refs = [
        queued.claim({"salt": number, "fault": "poison" if number == 3 else "none"})
        for number in range(8)
    ]
    queued.post(refs, 8)
    queued.wait()
    ends = [result_of(stack, ref) for ref in refs]
    assert ends[3][0] == "failed", ends[3]
    good = [(number, end) for number, end in enumerate(ends) if number != 3]
    assert all(end[1]["data"]["salt"] == number for number, end in good if end[0] == "done")
    return float(sum(state != "done" for _, (state, _) in good))


def _litserve(curve: str) -> tuple[Figures, list[list[object]]]:
    """LitServe, batches up to 16, on the same device: the better of two settings at 64 clients."""
    best: tuple[float, Figures, list[list[object]]] = (0.0, {}, [])
    for wait_s in LITSERVE_WAITS_S:
        with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
            stack.env["SIMULATED"] = f"{_setting(curve)} log={folder}/batches"
            _start_litserve(stack, wait_s)
            idle = _idle_litserve(stack)
            figures, rows = {}, []
            for count in CLIENTS:
                _forget_batches(stack)
                before = stack.cpu_s("litserve")
                url = f"http://127.0.0.1:{stack.ports['web']}/predict"
                wanted = request(url, {"Content-Type": "application/json"}, b'{"salt": 1}')
                answers = closed_loop(url, itertools.repeat(wanted), clients=count, seconds=SECONDS)
                assert set(answers.statuses) == {200}, answers.statuses
                images = len(answers.latencies_ms)
                cpu_ms = (stack.cpu_s("litserve") - before) * 1000 / images
                figures |= _of(f"litserve_{count}", answers) | {f"litserve_{count}_cpu_ms": cpu_ms}
                cells = _row(answers, f"{_mean_batch(stack):.1f}", f"{cpu_ms:.2f}")
                rows.append([f"LitServe, batch_timeout {wait_s:g} s", count, *cells])
            per_s = max(figures[f"litserve_{count}_images_per_s"] for count in CLIENTS)
            figures |= {"litserve_images_per_s": per_s, "litserve_batch_timeout_s": wait_s}
            figures |= {
                "litserve_idle_percent": idle,
                "litserve_poison_collateral": _poison_lit(url),
            }
            best = max(best, (per_s, figures, rows), key=lambda measured: measured[0])
    return best[1], best[2]


def _start_litserve(stack: Stack, wait_s: float) -> None:
    port = stack.ports["web"]
    server = str(Path(__file__).parent / "lit.py")
    stack.start("litserve", [sys.executable, server, str(port), str(wait_s)])
    url = f"http://127.0.0.1:{port}"
    stack.wait_for("litserve", lambda: httpx.get(f"{url}/health").status_code == 200)
    wanted = request(f"{url}/predict", {"Content-Type": "application/json"}, b'{"salt": 1}')
    closed_loop(url, itertools.repeat(wanted), clients=8, most=64)  # warm-up


def _idle_litserve(stack: Stack) -> float:
    time.sleep(1)
    before, began = stack.cpu_s("litserve"), time.perf_counter()
    time.sleep(SECONDS)
    return (stack.cpu_s("litserve") - before) / (time.perf_counter() - began) * 100


def _poison_lit(url: str) -> float:
    """The same eight images there, sent behind one that keeps the device busy."""
    with httpx.Client() as client, ThreadPoolExecutor(16) as pool:
        busy = [pool.submit(client.post, url, json={"salt": 99}) for _ in range(4)]
        bodies = [{"salt": n, "fault": "poison" if n == 3 else "none"} for n in range(8)]
        answers = list(pool.map(lambda body: client.post(url, json=body).status_code, bodies))
        for future in busy:
            future.result()
    return float(sum(code != 200 for number, code in enumerate(answers) if number != 3))


def _of(name: str, answers: Answers) -> Figures:
    return {
        f"{name}_images_per_s": answers.per_s,
        f"{name}_p50_ms": answers.p50,
        f"{name}_p95_ms": answers.percentile(0.95),
    }


def _row(answers: Answers, batch: str, cpu: str) -> list[object]:
    p95 = answers.percentile(0.95)
    return [f"{answers.per_s:.0f}", f"{answers.p50:.0f}", f"{p95:.0f}", batch, cpu]


def _cpu_s(stack: Stack) -> Figures:
    return {name: stack.cpu_s(name) for name in OURS}


def _cpu_ms(stack: Stack, before: Figures, images: int) -> Figures:
    """CPU ms per image of each process since `before`."""
    return {name: (s - before[name]) * 1000 / images for name, s in _cpu_s(stack).items()}


def _cells(cpu: Mapping[str, float]) -> str:
    parts = " / ".join(f"{ms:.2f}" for ms in cpu.values())
    return f"{sum(cpu.values()):.2f} ({parts})"


def _mean_batch(stack: Stack) -> float:
    sizes = [int(line.split()[0]) for line in _batches(stack).read_text().splitlines()]
    return sum(sizes) / len(sizes)


def _forget_batches(stack: Stack) -> None:
    _batches(stack).write_text("")


def _batches(stack: Stack) -> Path:
    settings = dict(word.split("=", 1) for word in stack.env["SIMULATED"].split())
    return Path(settings["log"])


def _slow_verdicts(figures: Mapping[str, Any]) -> None:
    share = figures["slow_pixelmill_images_per_s"] / figures["slow_raw_images_per_s"]
    verdict("slow, share of the raw loop", round(share, 3), 0.9, at_most=False)


def _fast_verdicts(figures: Mapping[str, Any]) -> None:
    raw = figures["fast_raw_images_per_s"]
    for name, goal in (("single", 0.2), ("pixelmill", 0.9), ("stage_alone", 0.45)):
        share = figures[f"fast_{name}_images_per_s"] / raw
        verdict(f"fast, {name}, share of the raw loop", round(share, 3), goal, at_most=False)
    ours, lit = f"fast_clients_{CLIENTS[-1]}", f"fast_litserve_{CLIENTS[-1]}"
    times = figures[f"{ours}_images_per_s"] / figures[f"{lit}_images_per_s"]
    verdict("fast, 64 clients, images/s, times LitServe", round(times, 3), 1, at_most=False)
    cpu_ms = sum(figures[f"{ours}_{process}_cpu_ms"] for process in OURS)
    times = cpu_ms / figures[f"{lit}_cpu_ms"]
    verdict("fast, 64 clients, CPU an image, times LitServe", round(times, 3), 1.5)
    times = figures["fast_clients_1_p50_ms"] / figures["fast_litserve_1_p50_ms"]
    verdict("fast, 1 client, p50, times LitServe", round(times, 3), 1)
    for name in OURS:
        verdict(f"idle {name}, % of a core", round(figures[f"fast_idle_{name}_percent"], 2), 2)
    verdict("good images hurt by a poison one in 8", figures["fast_poison_collateral"], 0)


VERDICTS = {"slow": _slow_verdicts, "fast": _fast_verdicts}


if __name__ == "__main__":
    main()
