"""Matting's network in 8 bits, as OpenVINO runs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from threads import ticks_during

from tasks.imaging.types import Tensor
from tasks.models import engines, matting, registry, weights
from tasks.models.matting import Matting

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
WEIGHTS = Path(os.environ.get("PIXELMILL_WEIGHTS_DIR", ROOT / "var" / "weights"))
FILE = registry.FOLDER / "matting.int8.onnx"

needs_openvino = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="the package is installed on Linux and x86-64 alone",
)


def prepared(name: str) -> Tensor:
    """A golden photo as the network gets it, 1 x 3 x 320 x 320."""
    photo = cv2.imread(str(GOLDEN / f"{name}.jpg"), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    return matting.preprocess(np.asarray(photo, np.uint8), Matting())[None]


@pytest.fixture(scope="module")
def session() -> Any:
    return matting.load_openvino({"fast": FILE}, 1)


@needs_openvino
@pytest.mark.skipif(
    not engines.multiplies_bytes(), reason="products of bytes may overflow on this processor"
)
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_matting_in_8_bits_agrees_with_torch(name: str, session: Any) -> None:
    file = weights.fetch(matting.MODEL.weights["fast"], WEIGHTS)
    batch = prepared(name)
    [reference] = matting.infer(matting.load({"fast": file}, "cpu"), torch.from_numpy(batch))

    [ours] = matting.infer_cpu(session, batch)

    assert ours.shape == tuple(reference.shape)
    assert ours.dtype == np.float32
    assert np.abs(ours - reference.numpy()).mean() < 0.01


def test_results_in_8_bits_are_cached_apart() -> None:
    digests = {weights.digest(matting.MODEL, engine) for engine in engines.ENGINES}

    assert len(digests) == 3


@needs_openvino
def test_openvino_reports_its_use_to_nobody_and_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "from pathlib import Path\n"
        "def refuse(*_): raise AssertionError('a socket was opened')\n"
        "socket.socket = refuse\n"
        "from tasks.models.nets import openvino\n"
        f"openvino.load(Path({str(FILE)!r}), 1)\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not any(n.startswith('openvino_telemetry.') for n in sys.modules)\n"
        "assert 'torch' not in sys.modules\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_other_threads_go_on_while_openvino_computes(session: Any) -> None:
    """A gpu worker's heartbeats would otherwise wait for each photo."""
    three = np.repeat(prepared("coffee"), 3, axis=0)

    ticks = ticks_during(lambda: matting.infer_cpu(session, three))

    assert ticks > 10


@needs_openvino
def test_pictures_of_one_batch_do_not_mix(session: Any) -> None:
    first, second = prepared("coffee"), prepared("chelsea")

    both = matting.infer_cpu(session, np.concatenate([first, second]))

    assert np.array_equal(both[0], matting.infer_cpu(session, first)[0])
    assert np.array_equal(both[1], matting.infer_cpu(session, second)[0])
