"""Rewrites a network so that the same answer costs less: maps are summed, not joined.

A convolution is linear. So the last one, which weighs the maps of all scales, goes into those that
make the maps; and what makes a map of a sum makes one of each side instead, so that the sum of many
channels is never written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from tasks.training.quantize.graph import Convolution, Network, Step


def simplified(network: Network) -> Network:
    """The same network with less to compute; where nothing is simpler, as it is."""
    return _split_sums(_weighed_maps(network))


def _weighed_maps(network: Network) -> Network:
    """Without a 1 x 1 convolution of maps of one channel, which convolutions make."""
    made = {step.name: step for step in network.steps}
    for last in network.steps:
        joined = made.get(last.inputs[0])
        if last.kind != "conv" or joined is None or joined.kind != "concat":
            continue
        makers = [_maker(made[name], made) for name in joined.inputs]
        weight = network.convolutions[last.name].weight
        if weight.shape != (1, len(makers), 1, 1) or not _are_maps(network, makers):
            continue
        bias = network.convolutions[last.name].bias
        weighed = dict(network.convolutions)
        del weighed[last.name]
        for number, name in enumerate(maker.name for maker in makers):
            old, by = weighed[name], weight[0, number, 0, 0]
            added = 0 if number else bias
            weighed[name] = replace(old, weight=old.weight * by, bias=old.bias * by + added)
        return _replaced(network, {joined.name: [], last.name: _sums(joined, last)}, weighed)
    return network


def _maker(step: Step, made: Mapping[str, Step]) -> Step:
    return made[step.inputs[0]] if step.kind == "resize" else step


def _are_maps(network: Network, makers: Iterable[Step]) -> bool:
    widths = network.widths()
    return all(
        maker.kind == "conv" and widths[maker.name] == 1 and len(network.users(maker.name)) == 1
        for maker in makers
    )


def _sums(joined: Step, last: Step) -> list[Step]:
    """Adds up what was joined; the whole sum has the last one's name."""
    steps: list[Step] = []
    whole, *rest = joined.inputs
    for number, name in enumerate(rest, 1):
        title = last.name if number == len(rest) else f"{last.name}.{number}"
        steps.append(Step(title, "add", (whole, name)))
        whole = title
    return steps


def _split_sums(network: Network) -> Network:
    """A map of a sum that nothing else needs becomes the sum of two maps."""
    made = {step.name: step for step in network.steps}
    convolutions = dict(network.convolutions)
    instead: dict[str, list[Step]] = {}
    for step in network.steps:
        summed = made.get(step.inputs[0])
        if step.kind != "conv" or summed is None or summed.kind != "add":
            continue
        if convolutions[step.name].weight.shape[0] != 1 or len(network.users(summed.name)) != 1:
            continue
        names = [f"{step.name}.{number}" for number in range(2)]
        old = convolutions.pop(step.name)
        convolutions |= dict(zip(names, _with_one_bias(old), strict=True))
        sides = zip(names, summed.inputs, strict=True)
        maps = [Step(name, "conv", (side,)) for name, side in sides]
        instead |= {summed.name: [], step.name: [*maps, Step(step.name, "add", tuple(names))]}
    return _replaced(network, instead, convolutions)


def _with_one_bias(old: Convolution) -> tuple[Convolution, Convolution]:
    nothing: Tensor = old.bias * 0
    return old, replace(old, bias=nothing)


def _replaced(
    network: Network, instead: Mapping[str, list[Step]], convolutions: Mapping[str, Convolution]
) -> Network:
    steps = [each for step in network.steps for each in instead.get(step.name, [step])]
    return replace(network, steps=tuple(steps), convolutions=convolutions)
