"""CenterFace: a MobileNetV2 with a top-down path that says where the centres of faces are.

Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019. Every BatchNorm
of the encoder is folded into its convolution, as in the packaged ONNX file; `from_onnx` folds the
three of the decoder, and relies on modules being registered in the order in which they run.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ENCODER = (
    # blocks, stride, expansion, channels
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (3, 2, 6, 32),
    (4, 2, 6, 64),
    (3, 1, 6, 96),
    (3, 2, 6, 160),
    (1, 1, 6, 320),
)
TAPS = (1, 2, 4, 6)
"""Stages of the encoder that the decoder looks at: 1/4, 1/8, 1/16 and 1/32 of the input."""
WIDTH = 24
BATCH_NORM_EPSILON = 1e-3


class CenterFace(nn.Module):
    """N x 3 x H x W RGB 0..255 -> N x 5 x H/4 x W/4: how much a cell is a face's centre (0..1),
    the box's log height and log width over STRIDE, and the centre's offset in the cell, y then x.

    H and W are multiples of 32. Faces of about 10 to 300 pixels are found.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        channels = [32, *(stage[3] for stage in ENCODER)]
        self.encoder = nn.ModuleList(
            _stage(into, *stage) for into, stage in zip(channels, ENCODER, strict=False)
        )
        finest, *_, coarsest = tapped = [ENCODER[tap][3] for tap in TAPS]
        self.sides = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in reversed(tapped))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2) for _ in pairwise(tapped))
        self.head = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.outputs = nn.Conv2d(WIDTH, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.outputs(self.features(image))
        return torch.cat([maps[:, :1].sigmoid(), maps[:, 1:]], dim=1)

    def features(self, image: Tensor) -> Tensor:
        """N x WIDTH x H/4 x W/4: what the maps are made of, each cell by itself."""
        features = functional.relu(self.stem(image))
        tapped = []
        for k, stage in enumerate(self.encoder):
            features = stage(features)
            if k in TAPS:
                tapped.append(features)
        top, *finer = (
            functional.relu(side(tap))
            for side, tap in zip(self.sides, reversed(tapped), strict=True)
        )
        for up, side in zip(self.ups, finer, strict=True):
            top = functional.relu(up(top)) + side
        seen: Tensor = functional.relu(self.head(top))
        return seen


class Block(nn.Module):
    """Widen, filter each channel, narrow again; plus the input where the shapes agree."""

    def __init__(self, into: int, stride: int, expansion: int, out: int) -> None:
        super().__init__()
        wide = into * expansion
        self.expand = nn.Conv2d(into, wide, 1) if expansion > 1 else None
        self.filter = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.narrow = nn.Conv2d(wide, out, 1)
        self.adds = stride == 1 and into == out

    def forward(self, features: Tensor) -> Tensor:
        """N x into x H x W -> N x out x H/stride x W/stride."""
        wide = features if self.expand is None else functional.relu(self.expand(features))
        narrowed: Tensor = self.narrow(functional.relu(self.filter(wide)))
        return features + narrowed if self.adds else narrowed


def from_onnx(data: bytes) -> dict[str, Tensor]:
    """The packaged ONNX file -> state dict of `CenterFace()`."""
    import onnx  # once, when weights are converted
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    arrays = {a.name: torch.from_numpy(numpy_helper.to_array(a).copy()) for a in graph.initializer}
    found = {
        kind: [
            [arrays[name] for name in node.input if name in arrays]
            for node in graph.node
            if node.op_type == kind
        ]
        for kind in ("Conv", "ConvTranspose", "BatchNormalization")
    }
    net = CenterFace()
    body = [net.stem, *(m for m in net.encoder.modules() if isinstance(m, nn.Conv2d))]
    ups: Any = net.ups
    sides: Any = net.sides
    *convolutions, heat, scale, offset, _ = found["Conv"]  # the last: landmarks, not used
    joined = [torch.cat(parts) for parts in zip(heat, scale, offset, strict=True)]
    modules = [*body, *sides, net.head, net.outputs]
    with torch.no_grad():
        for module, (weight, bias) in zip(modules, [*convolutions, joined], strict=True):
            module.weight.copy_(weight)
            module.bias.copy_(bias)
        decoder = zip(ups, found["ConvTranspose"], found["BatchNormalization"], strict=True)
        for module, [weight, *own_bias], (gain, shift, mean, variance) in decoder:
            factor = gain / _root(variance + BATCH_NORM_EPSILON)
            module.weight.copy_(weight * factor[None, :, None, None])
            module.bias.copy_(shift + ((own_bias[0] if own_bias else 0) - mean) * factor)
    return net.state_dict()


def _stage(into: int, blocks: int, stride: int, expansion: int, out: int) -> nn.Sequential:
    first = Block(into, stride, expansion, out)
    return nn.Sequential(first, *(Block(out, 1, expansion, out) for _ in range(blocks - 1)))


def _root(values: Tensor) -> Tensor:
    """Square roots to the last bit on every machine: the converted file has a known digest."""
    return values.double().sqrt().float()
