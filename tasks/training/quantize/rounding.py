"""Rounds the weights of convolutions to 8 bits so that their sums stay what they were.

Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers,
2022: weights are rounded one after the other, and what follows makes up for each error, by the
covariance of the inputs. The bias keeps the mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.training.quantize.graph import Convolution

TOP = 127
"""Weights are whole numbers from -127 to 127."""
DAMPING = 0.01
"""Of the mean variance of the inputs, which is added to each."""


@dataclass(frozen=True)
class Rounded:
    """Weights as whole numbers, O x I x K x K int8, and the scale of each output channel, O."""

    numbers: Tensor
    scales: Tensor

    def weight(self) -> Tensor:
        """What they stand for."""
        return self.numbers.float() * self.scales[:, None, None, None]


def scales_of(weight: Tensor) -> Tensor:
    """So that the largest weight of each output channel becomes 127."""
    return (weight.abs().amax((1, 2, 3)) / TOP).clamp(min=1e-12)


def nearest(weight: Tensor) -> Rounded:
    """Each weight rounded by itself."""
    scales = scales_of(weight)
    numbers = (weight / scales[:, None, None, None]).round().clamp(-TOP, TOP)
    return Rounded(numbers.to(torch.int8), scales)


def by_inputs(weight: Tensor, inputs: Tensor, groups: int = 1) -> Rounded:
    """Weights rounded for these inputs, places x (groups * I * K * K)."""
    scales = scales_of(weight)
    weights, divided = weight.flatten(1).chunk(groups), scales.chunk(groups)
    seen = inputs.chunk(groups, 1)
    numbers = [_numbers(*given) for given in zip(weights, divided, seen, strict=True)]
    return Rounded(torch.cat(numbers).reshape(weight.shape), scales)


def _numbers(weight: Tensor, scales: Tensor, inputs: Tensor) -> Tensor:
    """Of one group: O x (I * K * K) -> as many whole numbers."""
    rest = weight.double()
    factor = _factor(inputs)
    numbers = torch.zeros_like(rest)
    for k in range(rest.shape[1]):
        numbers[:, k] = (rest[:, k] / scales).round().clamp(-TOP, TOP)
        error = (rest[:, k] - numbers[:, k] * scales) / factor[k, k]
        rest[:, k:] -= error[:, None] * factor[k, k:]
    return numbers.to(torch.int8)


def _factor(inputs: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the inputs' covariance."""
    centred = inputs.double() - inputs.double().mean(0)
    covariance = centred.T @ centred / len(centred)
    diagonal = covariance.diagonal()
    diagonal += max(DAMPING * float(diagonal.mean()), 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def places(
    features: Tensor, convolution: Convolution, count: int, random: torch.Generator
) -> Tensor:
    """What a convolution sees at some places of each picture: N x C x H x W -> (N * count) x
    (C * K * K)."""
    side, (height, width) = (
        convolution.weight.shape[-1],
        convolution.answer_size(*features.shape[2:]),
    )
    seen = []
    for picture in torch.nn.functional.pad(features, (convolution.padding,) * 4):
        chosen = torch.randperm(height * width, generator=random)[:count]
        rows, columns = chosen // width * convolution.stride, chosen % width * convolution.stride
        kernel = [
            picture[:, rows + k * convolution.dilation, columns + n * convolution.dilation]
            for k in range(side)
            for n in range(side)
        ]
        seen.append(torch.stack(kernel, 1).permute(2, 0, 1).flatten(1))
    return torch.cat(seen)
