"""Maps of one channel, in a form that runtimes compute fast.

They compute many channels at once, and take as long for one as for sixteen. So neighbouring places
serve as channels, and enlarging is a product of matrices.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.imaging.types import Tensor as Array
from tasks.training.quantize.graph import Convolution

BLOCK = 4
"""Side of the squares whose places become channels."""


def is_map(convolution: Convolution, size: tuple[int, int]) -> bool:
    """Whether a convolution whose answer has this size makes a map of such squares."""
    kernel, divides = convolution.weight.shape, not any(side % BLOCK for side in size)
    how = (convolution.dilation, convolution.stride, convolution.groups)
    plain = convolution.padding == 1 and how == (1, 1, 1)
    return kernel[0] == 1 and kernel[2:] == (3, 3) and plain and divides


def by_square(weight: Tensor) -> Tensor:
    """1 x I x 3 x 3 -> 16 x I x 6 x 6: a channel for each place of a square, row after row, if the
    convolution goes from square to square."""
    squares = weight.new_zeros(BLOCK, BLOCK, weight.shape[1], BLOCK + 2, BLOCK + 2)
    for row in range(BLOCK):
        for column in range(BLOCK):
            squares[row, column, :, row : row + 3, column : column + 3] = weight[0]
    return squares.flatten(0, 1)


def enlarging(old: int, new: int) -> Array:
    """new x old: the share of each old place in each new one, enlarged bilinearly."""
    shares = functional.interpolate(torch.eye(old)[None], new, mode="linear", align_corners=False)
    return np.ascontiguousarray(shares[0].T.numpy())
