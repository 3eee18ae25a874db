"""Networks in 8 bits, as OpenVINO runs them."""

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
from tasks.training.facemask.data import overlap
from workers.gpu.engine import by_engine

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


@pytest.mark.parametrize("model", ["facemask", "matting"])
def test_results_in_8_bits_are_cached_apart(model: str) -> None:
    digests = {weights.digest(registry.get(model), engine) for engine in engines.ENGINES}

    assert len(digests) == 3


@needs_openvino
@pytest.mark.skipif(
    not engines.multiplies_bytes(), reason="products of bytes may overflow on this processor"
)
@pytest.mark.parametrize("size", [(512, 512), (1400, 1050)], ids=["small", "large"])
def test_facemask_in_8_bits_finds_the_face_that_torch_finds(size: tuple[int, int]) -> None:
    photo = cv2.imread(str(GOLDEN / "astronaut.jpg"), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    image = np.asarray(cv2.resize(photo, size), np.uint8)
    by_torch = registry.variant("facemask")
    ours, engine = by_engine(by_torch, "openvino", 1)

    answers = []
    for model in (by_torch, ours):
        files = {key: weights.fetch(weight, WEIGHTS) for key, weight in model.weights.items()}
        batch: Any = model.preprocess(image, model.params())[None]
        given = batch if model is ours else torch.from_numpy(batch)
        answers.append(np.asarray(model.infer(model.load(files, "cpu"), given)[0]))

    assert engine == "openvino"
    [sure], [found] = (rows[rows[:, 4] >= 0.5] for rows in answers)
    assert overlap(found[:4], sure[:4]) > 0.8
    assert np.abs(found[4:] - sure[4:]).max() < 0.05


@needs_openvino
def test_openvino_reports_its_use_to_nobody_and_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "from pathlib import Path\n"
        "from tasks.models.nets import openvino\n"  # which imports the package when it loads
        "assert 'openvino' not in sys.modules\n"
        "def refuse(*_): raise AssertionError('a socket was opened')\n"
        "socket.socket = refuse\n"
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
