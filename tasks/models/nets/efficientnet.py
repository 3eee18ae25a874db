"""EfficientNet-Lite0: MobileNetV2-like blocks without squeeze-and-excitation, for 1000 classes.

Tan and Le, EfficientNet, 2019; Lite: efficientnet/lite in the tensorflow/tpu repository.
Every BatchNorm is folded into its convolution when the checkpoint is converted.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 1000
BATCH_NORM_EPSILON = 1e-3
"""TensorFlow's, with which the weights were trained."""


@dataclass(frozen=True)
class Stage:
    """Blocks in a row: the first one strides and changes the channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    out: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""4.65 M parameters."""


class EfficientNet(nn.Module):
    """N x 3 x H x W, RGB -1..1 -> N x 1000 class scores (logits). H, W: multiples of 32."""

    def __init__(self, stages: tuple[Stage, ...] = LITE0) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks(32, stages))
        self.head = Convolution(stages[-1].out, 1280, kernel=1)
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Convolutions down to 1/32, averaged over the picture, classified."""
        features: Tensor = self.head(self.blocks(self.stem(image)))
        scores: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return scores


class Convolution(nn.Module):
    """A convolution with TensorFlow's SAME padding, and ReLU6."""

    def __init__(
        self, into: int, out: int, *, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.weights = nn.Conv2d(into, out, kernel, stride, padding, groups=groups)
        # SAME puts the odd pixel of an even side after it, which nn.Conv2d cannot say.
        before = (kernel - stride) // 2
        self.margin = (before, kernel - stride - before) * 2 if stride > 1 else ()

    def forward(self, features: Tensor) -> Tensor:
        """N x into x H x W -> N x out x H/stride x W/stride, 0..6."""
        padded = functional.pad(features, self.margin) if self.margin else features
        return functional.relu6(self.weights(padded), inplace=True)


class Block(nn.Module):
    """Widen, filter each channel, narrow again; plus the input where the shapes agree."""

    def __init__(self, into: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = into * stage.expansion
        self.expand = Convolution(into, wide, kernel=1) if wide > into else nn.Identity()
        self.filter = Convolution(wide, wide, kernel=stage.kernel, stride=stride, groups=wide)
        self.narrow = nn.Conv2d(wide, stage.out, 1)
        self.adds = stride == 1 and into == stage.out

    def forward(self, features: Tensor) -> Tensor:
        """N x into x H x W -> N x out x H/stride x W/stride."""
        narrowed: Tensor = self.narrow(self.filter(self.expand(features)))
        return features + narrowed if self.adds else narrowed


def from_checkpoint(data: bytes) -> dict[str, Tensor]:
    """The packaged checkpoint -> state dict of `EfficientNet()`, BatchNorm folded in."""
    old = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    state = {"classifier.weight": old["_fc.weight"], "classifier.bias": old["_fc.bias"]}
    state |= _folded(old, "_conv_stem", "_bn0", "stem.weights")
    state |= _folded(old, "_conv_head", "_bn1", "head.weights")
    for k in range(sum(stage.blocks for stage in LITE0)):
        before, now = f"_blocks.{k}.", f"blocks.{k}."
        if f"{before}_expand_conv.weight" in old:
            state |= _folded(old, f"{before}_expand_conv", f"{before}_bn0", f"{now}expand.weights")
        state |= _folded(old, f"{before}_depthwise_conv", f"{before}_bn1", f"{now}filter.weights")
        state |= _folded(old, f"{before}_project_conv", f"{before}_bn2", f"{now}narrow")
    return state


def _blocks(into: int, stages: tuple[Stage, ...]) -> list[Block]:
    blocks = []
    for stage in stages:
        for k in range(stage.blocks):
            blocks.append(Block(into, stage, 1 if k else stage.stride))
            into = stage.out
    return blocks


def _folded(old: Mapping[str, Tensor], convolution: str, norm: str, name: str) -> dict[str, Tensor]:
    """Weight and bias of a convolution that does its BatchNorm's work too."""
    scale = old[f"{norm}.weight"] / _root(old[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    return {
        f"{name}.weight": old[f"{convolution}.weight"] * scale[:, None, None, None],
        f"{name}.bias": old[f"{norm}.bias"] - old[f"{norm}.running_mean"] * scale,
    }


def _root(values: Tensor) -> Tensor:
    """Square roots to the last bit on every machine: the converted file has a known digest."""
    return values.double().sqrt().float()
