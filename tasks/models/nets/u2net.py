"""U-2-Net, U-2-NetP and IS-Net: nested U-shaped networks that say where the salient object is.

Qin et al., U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection, 2020, and
Highly Accurate Dichotomous Image Segmentation, 2022 (IS-Net).
Every BatchNorm is folded into its convolution, as in the packaged ONNX files. The modules are
registered in the order in which they run; `from_onnx` relies on that.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.nets.saliency import DEVIATION, MEAN
from tasks.models.nets.views import PAIR

STAGE_DEPTHS = (7, 6, 5, 4, 0, 0, 0, 4, 5, 6, 7)
"""Of six encoder and five decoder stages, in order; 0: a stage that dilates instead of pooling."""


@dataclass(frozen=True)
class Channels:
    """Channels of one stage: into it, inside it, out of it."""

    into: int
    inside: int
    out: int


U2NETP = (Channels(3, 16, 64), *[Channels(64, 16, 64)] * 5, *[Channels(128, 16, 64)] * 5)
"""1.13 M parameters."""

U2NET = (
    Channels(3, 32, 64),
    Channels(64, 32, 128),
    Channels(128, 64, 256),
    Channels(256, 128, 512),
    Channels(512, 256, 512),
    Channels(512, 256, 512),
    Channels(1024, 256, 512),
    Channels(1024, 128, 256),
    Channels(512, 64, 128),
    Channels(256, 32, 64),
    Channels(128, 16, 64),
)
"""44.0 M parameters."""


ISNET = (Channels(64, 32, 64), *U2NET[1:])
"""Those of U-2-Net, but for a first convolution. 44.0 M parameters."""


class Nested(nn.Module):
    """What the networks share: six encoder stages down, five decoder stages up."""

    def __init__(self, stages: tuple[Channels, ...]) -> None:
        super().__init__()
        blocks = [_stage(depth, c) for depth, c in zip(STAGE_DEPTHS, stages, strict=True)]
        self.encoder = nn.ModuleList(blocks[:6])
        self.decoder = nn.ModuleList(blocks[6:])

    def scales(self, features: Tensor) -> list[Tensor]:
        """What the deepest stage and the decoder's make of N x C x H x W, the finest last."""
        skips: list[Tensor] = []
        for stage in self.encoder:
            features = stage(_halve(features) if skips else features)
            skips.append(features)
        scales = [skips.pop()]
        for stage in self.decoder:
            scales.append(stage(_join(scales[-1], skips.pop())))
        return scales


class U2Net(Nested):
    """N x 3 x H x W normalised RGB -> N x 1 x H x W, how salient each pixel is, 0..1.

    H and W are multiples of 32; the weights were trained at 320 x 320.
    """

    def __init__(self, stages: tuple[Channels, ...]) -> None:
        super().__init__(stages)
        outputs = [*reversed(stages[6:]), stages[5]]  # finest first, as the original counts them
        self.sides = nn.ModuleList([nn.Conv2d(c.out, 1, 3, padding=1) for c in outputs])
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """One map from each scale, fused."""
        scales = self.scales(image)
        maps = [side(scale) for side, scale in zip(self.sides, reversed(scales), strict=True)]
        fused: Tensor = self.fuse(torch.cat([_grow(m, maps[0]) for m in maps], dim=1))
        return torch.sigmoid(fused)


class ISNet(Nested):
    """The same of 1024 x 1024, at which the weights were trained; the stages see half of that.

    It takes images in ImageNet's norm as the others do, though its own is another.
    """

    def __init__(self) -> None:
        super().__init__(ISNET)
        self.scale = nn.Parameter(torch.empty(1, 3, 1, 1))
        self.shift = nn.Parameter(torch.empty(1, 3, 1, 1))
        self.enter = nn.Conv2d(3, ISNET[0].into, 3, stride=2, padding=1)
        self.side = nn.Conv2d(ISNET[-1].out, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """The map of the finest scale alone; the others served its training."""
        features = self.enter(image * self.scale + self.shift)
        return torch.sigmoid(_grow(self.side(self.scales(features)[-1]), image))


class Networks(nn.Module):
    """Networks with one kind of input: the first sees the first pair of views, and so on."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, views: Tensor) -> Tensor:
        """N x V x 3 x H x W -> N x V x H x W, a map of each view."""
        maps = []
        for number, pair in enumerate(torch.split(views, PAIR, dim=1)):
            net = self.nets[min(number, len(self.nets) - 1)]
            images = pair.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            maps.append(net(images).unflatten(0, pair.shape[:2])[:, :, 0])
        return torch.cat(maps, dim=1)


class Pair(nn.Module):
    """A network that sees the first view, and a small one that sees all: that may see a body that
    the first loses."""

    def __init__(self, fine: nn.Module, coarse: nn.Module, coarse_side: int) -> None:
        super().__init__()
        self.fine, self.coarse, self.coarse_side = fine, coarse, coarse_side

    def forward(self, views: Tensor) -> Tensor:
        """N x V x 3 x H x W -> N x (1 + V) x H x W: the map of the first, those of the second."""
        first = views[:, 0].contiguous(memory_format=torch.channels_last)
        small = functional.interpolate(views.flatten(0, 1), (self.coarse_side,) * 2, mode="area")
        small = small.contiguous(memory_format=torch.channels_last)
        coarse: Tensor = _grow(self.coarse(small), first)
        return torch.cat([self.fine(first), coarse.reshape(*views.shape[:2], *first.shape[2:])], 1)


class PoolingBlock(nn.Module):
    """A small U-Net with a residual: N x into x H x W -> N x out x H x W (RSU-L of the paper)."""

    def __init__(self, depth: int, channels: Channels) -> None:
        super().__init__()
        inside, out = channels.inside, channels.out
        self.enter = _convolution(channels.into, out)
        self.down = nn.ModuleList(
            [_convolution(inside if k else out, inside) for k in range(depth - 1)]
        )
        self.bottom = _convolution(inside, inside, dilation=2)
        self.up = nn.ModuleList(
            [_convolution(2 * inside, inside) for _ in range(depth - 2)]
            + [_convolution(2 * inside, out)]
        )

    def forward(self, features: Tensor) -> Tensor:
        """Down by halves, once more dilated, up again with skips, plus what came in."""
        entered: Tensor = self.enter(features)
        inner = entered
        skips: list[Tensor] = []
        for convolution in self.down:
            inner = convolution(_halve(inner) if skips else inner)
            skips.append(inner)
        inner = self.bottom(inner)
        for convolution in self.up:
            inner = convolution(_join(inner, skips.pop()))
        summed: Tensor = inner + entered
        return summed


class DilatedBlock(nn.Module):
    """The same without pooling, for maps that are small already (RSU-4F of the paper)."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        inside, out = channels.inside, channels.out
        self.enter = _convolution(channels.into, out)
        self.down = nn.ModuleList(
            [_convolution(inside if k else out, inside, dilation=2**k) for k in range(3)]
        )
        self.bottom = _convolution(inside, inside, dilation=8)
        self.up = nn.ModuleList(
            [_convolution(2 * inside, out if d == 1 else inside, dilation=d) for d in (4, 2, 1)]
        )

    def forward(self, features: Tensor) -> Tensor:
        """Ever wider dilations, then back with skips, plus what came in."""
        entered: Tensor = self.enter(features)
        inner = entered
        skips: list[Tensor] = []
        for convolution in self.down:
            inner = convolution(inner)
            skips.append(inner)
        inner = self.bottom(inner)
        for convolution in self.up:
            inner = convolution(_join(inner, skips.pop()))
        summed: Tensor = inner + entered
        return summed


def from_onnx(data: bytes, stages: tuple[Channels, ...]) -> dict[str, Tensor]:
    """The packaged ONNX file -> state dict of `U2Net(stages)`.

    The file names only the side and fusing convolutions; the others come in the order in which
    they run. Raises ValueError when a shape differs.
    """
    net = U2Net(stages)
    heads = [net.sides[k] for k in range(6)] + [net.fuse]
    return _state(net, [*_body(net), *heads], _onnx_convolutions(data))


def isnet_from_onnx(data: bytes) -> dict[str, Tensor]:
    """The packaged ONNX file -> state dict of `ISNet`, in halves as the file is.

    Raises ValueError when a shape differs.
    """
    net = ISNet()
    convolutions = _onnx_convolutions(data)[:-5]  # without the coarser scales' maps
    state = _state(net, [net.enter, *_body(net), net.side], convolutions)
    mean, deviation = (torch.from_numpy(v).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    state |= {"scale": deviation, "shift": mean - 0.5}
    return {name: values.half() for name, values in state.items()}


def _body(net: Nested) -> list[nn.Module]:
    return [c for part in (net.encoder, net.decoder) for c in _convolutions(part)]


def _state(
    net: nn.Module, modules: Iterable[nn.Module], convolutions: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Weights and biases of the modules, by their names in the network."""
    names = {module: name for name, module in net.named_modules()}
    state: dict[str, Tensor] = {}
    for module, (weight, bias) in zip(modules, convolutions, strict=True):
        if weight.shape != module.weight.shape:
            raise ValueError(f"other shapes than {type(net).__name__}'s: {names[module]}")
        state[f"{names[module]}.weight"], state[f"{names[module]}.bias"] = weight, bias
    return state


def _convolutions(part: nn.Module) -> Iterable[nn.Module]:
    return (module for module in part.modules() if isinstance(module, nn.Conv2d))


def _onnx_convolutions(data: bytes) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution in the order of the graph."""
    import onnx  # once, when weights are converted
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}

    def read(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(tensors[name]).astype("float32"))

    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [(read(node.input[1]), read(node.input[2])) for node in nodes]


def _stage(depth: int, channels: Channels) -> nn.Module:
    return PoolingBlock(depth, channels) if depth else DilatedBlock(channels)


def _convolution(into: int, out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)
    )


def _halve(features: Tensor) -> Tensor:
    return functional.max_pool2d(features, 2, ceil_mode=True)


def _grow(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear to the height and width of `like`."""
    if features.shape[2:] == like.shape[2:]:
        return features
    return functional.interpolate(features, like.shape[2:], mode="bilinear", align_corners=False)


def _join(features: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([_grow(features, skip), skip], dim=1)
