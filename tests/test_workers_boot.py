"""A worker says in a sentence why it cannot start, and is in the catalogue once it has started."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from stack import Stack

from storage import catalogue
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

START_S = 60

PLUG_IN = """
import torch
from tasks.models.base import Model, Output, Params, Weight

def load(weights, device):
    {load}

MODEL = Model(
    title="Test", kind="labels", params=Params, load=load,
    preprocess=lambda image, params: None,
    infer=lambda session, batch: batch,
    postprocess=lambda output, image, params, wanted: Output(),
    bins=((8, 8),),
    weights={weights},
    decode="none",
)
"""
WEIGHT = """{{"fast": Weight(
    package="tiny-weights", version="1.0", member="tiny_weights/values.bin", sha256="{sha256}",
    licence="MIT", convert=lambda data: {{"values": torch.tensor(list(data))}},
)}}"""


@dataclass(frozen=True)
class Start:
    """A worker that was asked to start."""

    process: "subprocess.Popen[str]"

    def ended(self) -> tuple[int, str]:
        """Exit code and all that it said."""
        said, _ = self.process.communicate(timeout=START_S)
        return self.process.returncode, said


def start(servers: Stack, folder: Path, *arguments: str, **env: str) -> Start:
    command = [sys.executable, "-m", "workers", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**servers.env, "CUDA_VISIBLE_DEVICES": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return Start(process)


def pip_folder(folder: Path) -> Mapping[str, str]:
    """The environment in which pip sees one wheel, in `folder`, and no index."""
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/values.bin", b"\x01\x02")
        metadata = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="module")
def refused(
    servers: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Start]]:
    """Workers that cannot start, all at once: each imports torch, which takes its time."""
    folder = tmp_path_factory.mktemp("refused")
    weights = WEIGHT.format(sha256="0" * 64)
    plug_ins = {
        "breaks": PLUG_IN.format(load='raise RuntimeError("no such layer")', weights="{}"),
        "wrong_hash": PLUG_IN.format(load="return None", weights=weights),
    }
    for name, text in plug_ins.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.py").write_text(text)
    pip = pip_folder(folder)

    def plug_in(name: str) -> Start:
        env = {"PIXELMILL_MODEL_PATHS": str(folder / name), "PIXELMILL_WEIGHTS_DIR": str(folder)}
        return start(servers, folder, "gpu", "--models", name, **env, **pip)

    starts = {
        "cuda": start(servers, folder, "gpu", "--models", "matting", PIXELMILL_DEVICE="cuda"),
        "unknown": start(servers, folder, "gpu", "--models", "mating"),
        **{name: plug_in(name) for name in plug_ins},
    }
    yield starts
    for worker in starts.values():
        worker.process.kill()
        worker.process.communicate()


@pytest.mark.parametrize(
    ("which", "sentences"),
    [
        (
            "cuda",
            [
                "pixelmill worker: PIXELMILL_DEVICE=cuda, but torch sees no GPU.",
                "Install a CUDA build of torch and a driver, or set PIXELMILL_DEVICE=auto.",
            ],
        ),
        ("unknown", ["pixelmill worker: no model 'mating'; there are: ", "matting"]),
        (
            "breaks",
            [
                "pixelmill worker: model 'breaks' could not be warmed up: "
                "RuntimeError: no such layer."
            ],
        ),
        (
            "wrong_hash",
            [
                "pixelmill worker: ",
                "tiny-weights 1.0",
                "tiny_weights/values.bin",
                "0" * 64,
                hashlib.sha256(b"\x01\x02").hexdigest(),
            ],
        ),
    ],
)
def test_a_worker_that_cannot_start_says_why_and_exits(
    refused: Mapping[str, Start], which: str, sentences: list[str]
) -> None:
    code, said = refused[which].ended()

    assert code != 0
    for sentence in sentences:
        assert sentence in said
    assert "Traceback" not in said


def test_a_worker_that_cannot_start_is_in_no_catalogue(
    refused: Mapping[str, Start], servers: Stack
) -> None:
    for worker in refused.values():
        worker.process.wait(START_S)

    with servers.state as client:
        announced = SyncRedis(client).do(catalogue.read())

    assert "breaks" not in announced.models and not announced.is_live("gpu.breaks")


def wait_until_live(link: SyncRedis, queue: str, worker: Start) -> catalogue.Catalogue:
    end = time.monotonic() + START_S
    while time.monotonic() < end and worker.process.poll() is None:
        announced = link.do(catalogue.read())
        if announced.is_live(queue):
            return announced
        time.sleep(0.05)
    worker.process.kill()
    raise AssertionError(f"not live: {worker.process.communicate()[0]}")


@pytest.mark.parametrize(("kind", "queue"), [("cpu", "cpu"), ("gpu", "gpu.noop")])
def test_a_worker_announces_itself_and_leaves_on_sigterm(
    servers: Stack, state_url: str, link: SyncRedis, tmp_path: Path, kind: str, queue: str
) -> None:
    models = Path(__file__).parent / "bench" / "models"
    env = {"PIXELMILL_STATE_URL": state_url, "PIXELMILL_CPU_PROCESSES": "1"}
    env |= {"PIXELMILL_MODELS": "noop", "PIXELMILL_MODEL_PATHS": str(models)}
    worker = start(servers, tmp_path, kind, **env)

    announced = wait_until_live(link, queue, worker)
    worker.process.send_signal(signal.SIGTERM)
    code, said = worker.ended()

    [facts] = announced.workers
    assert (facts["kind"], facts["queues"], facts["pid"]) == (kind, [queue], worker.process.pid)
    assert set(facts["versions"]) == {"pixelmill", "celery", "python"}
    assert set(announced.models) == ({"noop"} if kind == "gpu" else set())
    assert "noop" in facts["model_versions" if kind == "gpu" else "model_code"]
    assert code == 0, said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what a process has loaded")
def test_a_gpu_worker_whose_networks_all_run_without_torch_never_loads_it(
    servers: Stack, state_url: str, link: SyncRedis, tmp_path: Path
) -> None:
    env = {"PIXELMILL_STATE_URL": state_url, "PIXELMILL_MODELS": "matting,classify,facemask,lungct"}
    worker = start(servers, tmp_path, "gpu", **env)

    announced = wait_until_live(link, "gpu.facemask", worker)
    loaded = Path(f"/proc/{worker.process.pid}/maps").read_text()
    worker.process.send_signal(signal.SIGTERM)
    code, said = worker.ended()

    assert set(announced.models) == {"matting", "classify", "facemask", "lungct"}
    assert "_mnncengine" in loaded
    assert "torch" not in loaded
    assert code == 0, said


def test_the_cpu_workers_code_imports_no_torch() -> None:
    modules = "workers.boot, tasks.preprocess, tasks.inference, tasks.postprocess"
    models = "[registry.get(name) for name in ('matting', 'classify', 'facemask', 'lungct')]"
    code = (
        f"import sys, {modules}; from tasks.models import registry; {models}; "
        "sys.exit('torch' in sys.modules)"
    )

    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0
