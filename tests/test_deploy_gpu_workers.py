"""`pixelmill worker gpu --all` on a host without GPUs: one device, and whatever befalls it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from stack import REPOSITORY, Stack

from deploy import gpu_workers
from storage import catalogue
from storage.redis import calls
from tasks.errors import Unavailable
from tasks.settings import read
from workers import pinning
from workers.pinning import Gpu

PATIENCE_S = 120
HANG_S = 1.5
LIMIT_PX = 3 * 64 * 64
"""Memory of the device: three images of 64 x 64, none of 128 x 128."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fleet")
    env = {
        "SIMULATED": f"a=20 b=1 cpu_pixels={LIMIT_PX} log={folder / 'log'} hangs={folder / 'hung'}",
        "PIXELMILL_MODELS": "simulated",
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "models"),
        "PIXELMILL_DEVICE_HANG_S": str(HANG_S),
        "PIXELMILL_CPU_PROCESSES": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with Stack(folder, env) as stack:
        stack.start_servers()
        stack.start("cpu-worker", [sys.executable, "-m", "workers", "cpu"])
        command = [sys.executable, "-m", "deploy.cli", "worker", "gpu", "--all"]
        stack.start("gpu-worker", command)
        stack.start_web()
        stack.wait_until_live()
        yield stack


def ask(stack: Stack, **params: Any) -> dict[str, Any]:
    """The ended job of one image."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/simulated",
        params={"wait": 60, **params},
        content=(REPOSITORY / "examples" / "chelsea.jpg").read_bytes(),
        headers={"Authorization": f"Bearer {stack.api_key}"},
        timeout=90,
    )
    job: dict[str, Any] = answer.json()
    return job


def gpu_worker(stack: Stack) -> Mapping[str, Any] | None:
    """What the gpu worker says of itself."""
    workers = calls.SyncRedis(stack.state).do(catalogue.read()).workers
    return next((worker for worker in workers if worker["kind"] == "gpu"), None)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_without_a_gpu_there_is_one_worker_on_the_cpu_and_its_parent_has_no_torch(
    stack: Stack,
) -> None:
    parent = psutil.Process(stack.processes["gpu-worker"].pid)

    [child] = [child for child in parent.children() if "workers" in child.cmdline()]

    assert child.cmdline()[1:] == ["-m", "workers", "gpu"]
    libraries = {Path(mapped.path).name for mapped in parent.memory_maps()}
    assert not any(name.startswith("libtorch") for name in libraries)
    assert any(Path(mapped.path).name.startswith("libtorch") for mapped in child.memory_maps()), (
        "the witness would see it"
    )


def test_an_image_comes_back_as_its_own(stack: Stack) -> None:
    job = ask(stack, salt=7)

    assert (job["state"], job["result"]["data"]["salt"], job["degraded"]) == ("done", 7, False)


def test_an_image_that_the_device_has_no_memory_for_fails_with_a_reason_and_is_counted(
    stack: Stack,
) -> None:
    job = ask(stack, salt=8, side=128)

    assert (job["state"], job["error"]["code"]) == ("failed", "out_of_memory")
    assert "128 x 128" in job["error"]["message"] and job["error"]["hint"]
    until(lambda: (gpu_worker(stack) or {"counts": {}})["counts"].get("failed", 0) >= 1)


def test_images_that_the_device_has_little_memory_for_all_come_back(stack: Stack) -> None:
    with ThreadPoolExecutor(12) as pool:
        jobs = list(pool.map(lambda salt: ask(stack, salt=salt, side=64), range(100, 112)))

    assert [job["state"] for job in jobs] == ["done"] * 12
    assert [job["result"]["data"]["salt"] for job in jobs] == list(range(100, 112))


def test_one_poison_image_fails_alone(stack: Stack) -> None:
    def ask_one(salt: int) -> dict[str, Any]:
        return ask(stack, salt=salt, fault="poison" if salt == 203 else "none")

    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(ask_one, range(200, 208)))

    states = [job["state"] for job in jobs]
    assert states == ["done"] * 3 + ["failed"] + ["done"] * 4
    assert "poison" in jobs[3]["error"]["message"]


def test_a_device_that_hangs_costs_its_process_and_not_the_image(stack: Stack) -> None:
    before = gpu_worker(stack)
    assert before
    job = ask(stack, salt=300, fault="hang")

    if job["state"] != "done":
        address = f"{stack.url}/api/v1/jobs/{job['id']}"
        headers = {"Authorization": f"Bearer {stack.api_key}"}
        until(lambda: httpx.get(address, headers=headers).json()["state"] in ("done", "failed"))
        job = httpx.get(address, headers=headers).json()

    assert (job["state"], job["result"]["data"]["salt"]) == ("done", 300)
    log = (stack.folder / "gpu-worker.log").read_text()
    assert "the device has been at one batch" in log and "gpu-worker-1 ended (exit code 70)" in log
    until(lambda: (gpu_worker(stack) or before)["pid"] != before["pid"])


def test_sigterm_ends_parent_and_child_and_leaves_nothing_behind(stack: Stack) -> None:
    """The last test of this module: it ends the fleet."""
    parent = psutil.Process(stack.processes["gpu-worker"].pid)
    children = parent.children(recursive=True)

    parent.send_signal(signal.SIGTERM)

    assert stack.processes["gpu-worker"].wait(30) == 0
    assert children and not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("arguments", "env", "sentence"),
    [
        (["--gpu", "0"], {}, "there is no GPU 0; the driver sees none"),
        (["--gpu", "0"], {"PIXELMILL_DEVICE": "cpu"}, "PIXELMILL_DEVICE=cpu contradict"),
        (["--all"], {"PIXELMILL_DEVICE": "cuda"}, "the driver sees no GPU"),
        (["--all", "--gpu", "0"], {}, "cannot be combined with --gpu"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_with_the_reason(
    tmp_path: Path, arguments: list[str], env: dict[str, str], sentence: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "worker", "gpu", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode != 0
    assert sentence in ended.stderr and "Traceback" not in ended.stderr


def test_every_gpu_gets_a_worker_of_its_own_and_a_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pinning, "usable", lambda: [Gpu(n, "T4", 0, 1, 1) for n in (0, 1, 3)])
    monkeypatch.setattr(pinning, "cores", lambda: 8)

    programs = gpu_workers.programs(read(None), "toy")

    assert [program.name for program in programs] == [
        "gpu-worker-1",
        "gpu-worker-2",
        "gpu-worker-3",
    ]
    gpus = [program.command[-4:] for program in programs]
    assert gpus == [["--models", "toy", "--gpu", number] for number in "013"]
    assert {program.env["PIXELMILL_THREADS"] for program in programs} == {"2"}


def test_a_gpu_that_is_asked_for_and_hidden_is_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "usable", list)

    with pytest.raises(Unavailable, match="no GPU that may be used"):
        gpu_workers.programs(read(None, device="cuda"))
