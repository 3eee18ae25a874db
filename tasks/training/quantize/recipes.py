"""What is quantized: the networks of our models, with what they see and how they are compared."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tasks.imaging import geometry
from tasks.imaging.types import Image
from tasks.models import facemask, matting, registry, weights
from tasks.models.nets.centerface import TAPS
from tasks.training.quantize import comparison
from tasks.training.quantize.detector import Detector

DETECTED_AT = (640, 640)
"""Size of the pictures by which the detector of faces is quantized."""


@dataclass(frozen=True)
class Recipe:
    """How a network gets its form in 8 bits."""

    net: nn.Module
    file: str
    """Name of what is made."""
    prepared: Callable[[Image], Tensor]
    """A photo as the network gets it, 1 x C x H x W."""
    compared: Callable[[Path, Iterable[Image]], object]
    """What to say of a file, by photos."""
    floats: Sequence[str] = ()
    """Convolutions that stay in float32."""
    any_size: bool = False
    """Whether the network takes pictures of other sizes, too."""


def _matting() -> Recipe:
    session = matting.load(weights.fetch_model(registry.variant("matting")), "cpu")

    def prepared(image: Image) -> Tensor:
        return torch.from_numpy(matting.preprocess(image, matting.Matting(effort="fast"))[None])

    return Recipe(
        net=session.nets[0],
        file="matting.int8.onnx",
        prepared=prepared,
        compared=lambda file, images: comparison.of_mattes(
            session, file, (prepared(image).numpy() for image in images)
        ),
        # The first one sees the photo. The sums of the second cancel values of a thousand and more.
        floats=("encoder.0.enter.0", "decoder.3.up.4.0"),
    )


def _detector() -> Recipe:
    detector = facemask.load(weights.fetch_model(registry.variant("facemask")), "cpu").detector

    def prepared(image: Image) -> Tensor:
        boxed, _ = geometry.letterbox(image, *DETECTED_AT)
        return torch.from_numpy(np.ascontiguousarray(boxed.transpose(2, 0, 1)[None], np.float32))

    return Recipe(
        net=Detector(detector),
        file="facemask-detector.int8.onnx",
        prepared=prepared,
        compared=partial(comparison.of_faces, detector),
        floats=(
            "net.stem",
            "net.encoder.0.0.filter",
            "net.encoder.0.0.narrow",
            *(f"net.sides.{k}" for k in range(len(TAPS))),
            *(f"net.ups.{k}" for k in range(len(TAPS) - 1)),
            *("net.head", "heat", "places"),
        ),
        any_size=True,
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "facemask": _detector,
    "matting": _matting,
}


def read(file: Path) -> Image:
    """H x W x 3 uint8 RGB."""
    pixels = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{file} is no picture that OpenCV reads")
    return np.asarray(pixels, np.uint8)
