"""The detector of faces as it is quantized."""

import torch
from torch import Tensor, nn

from tasks.models.nets.centerface import CenterFace


class Detector(nn.Module):
    """CenterFace, its heat made by a convolution of its own, as it alone is a probability."""

    def __init__(self, net: CenterFace) -> None:
        super().__init__()
        self.net = net
        self.heat, self.places = (
            _some_of(net.outputs, slice(1)),
            _some_of(net.outputs, slice(1, None)),
        )

    def forward(self, image: Tensor) -> Tensor:
        """See CenterFace."""
        features = self.net.features(image)
        return torch.cat([self.heat(features).sigmoid(), self.places(features)], dim=1)


def _some_of(convolution: nn.Conv2d, channels: slice) -> nn.Conv2d:
    weight, bias = convolution.weight[channels], convolution.bias
    assert bias is not None
    part = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    part.weight, part.bias = nn.Parameter(weight), nn.Parameter(bias[channels])
    return part
