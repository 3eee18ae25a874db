"""The lung network: a plain U-Net on one slice at a time, 0.9 M parameters."""

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (32, 64, 96, 128)
"""Channels per level; each level has half the side of the one before, the first has 64."""
FOLD = 4
"""The network sees squares of 4 x 4 pixels as 16 channels, and answers so: most of the time of a
U-Net goes into its first levels, at full size."""


class LungNet(nn.Module):
    """N x 1 x 256 x 256, -1..1 (-1000..400 HU) -> N x 1 x 256 x 256 scores (logits) of lung.

    Sides are multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = (FOLD**2, *CHANNELS[:-1])
        self.down = nn.ModuleList(_level(i, o) for i, o in zip(inputs, CHANNELS, strict=True))
        self.up = nn.ModuleList(
            _level(below + here, here)
            for here, below in zip(CHANNELS[:-1], CHANNELS[1:], strict=True)
        )
        self.head = nn.Conv2d(CHANNELS[0], FOLD**2, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """See the class."""
        levels = []
        features = functional.pixel_unshuffle(slices, FOLD)
        for k, level in enumerate(self.down):
            features = level(functional.max_pool2d(features, 2) if k else features)
            levels.append(features)
        for level, beside in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = level(torch.cat((larger, beside), dim=1))
        return functional.pixel_shuffle(self.head(features), FOLD)


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_step(inputs, outputs), *_step(outputs, outputs))


def _step(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
