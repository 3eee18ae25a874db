"""What the tests of networks in 8 bits share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tasks.training.quantize import __main__ as command
from tasks.training.quantize.recipes import Recipe


def quantized(net: nn.Module, images: Sequence[Tensor], **settings: Any) -> bytes:
    """The ONNX file of a network. `settings`: of its recipe."""
    recipe = Recipe(
        net, "small.onnx", lambda image: images[0], lambda file, photos: None, **settings
    )
    return command.quantized(recipe, images, 0, lambda name, parts: None)
