"""Networks in ONNX files, and the example of a model that has one."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from tasks.models import registry, weights
from tasks.models.nets import onnx_network
from tasks.settings import settings
from workers.gpu.accelerator import Cpu

EXAMPLE = Path(__file__).parents[1] / "examples" / "models"
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(EXAMPLE))
    settings.cache_clear()
    yield "onnx_matte"
    settings.cache_clear()


def test_an_onnx_file_answers_for_each_image_of_a_batch(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["image"], ["map"], axes=[1], keepdims=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 4, 6])
        for name, channels in (("image", 3), ("map", 1))
    ]
    graph = helper.make_graph([mean], "mean", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save_file(onnx_network.pack(onnx.ModelProto.SerializeToString(made)), tmp_path / "w")
    batch = torch.rand(2, 3, 4, 6)

    session = onnx_network.load({"onnx": tmp_path / "w"}, "cpu")
    answers = onnx_network.run(session, batch)

    assert [tuple(answer.shape) for answer in answers] == [(1, 4, 6)] * 2
    assert torch.allclose(torch.stack(list(answers)), batch.mean(1, keepdim=True))


def test_the_example_cuts_out_as_matting_does_in_sixty_lines(example: str) -> None:
    model = registry.get(example)
    photo = cv2.cvtColor(cv2.imread(str(GOLDEN / "coffee.jpg")), cv2.COLOR_BGR2RGB)
    golden = cv2.imread(str(GOLDEN / "matting_coffee.png"), cv2.IMREAD_GRAYSCALE)
    assert golden is not None

    session = model.load(weights.fetch_model(model), "cpu")
    params = model.params()
    array = Cpu().put(model.preprocess(photo, params)[None])
    (output,) = Cpu().take(model.infer(session, array))
    alpha = model.postprocess(output, photo, params, ()).images["alpha"]

    assert len((EXAMPLE / "onnx_matte.py").read_text().splitlines()) <= 60
    golden = cv2.resize(golden, alpha.shape[::-1])
    assert np.abs(alpha.astype(float) - golden).mean() < 1
