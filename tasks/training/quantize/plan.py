"""Which values of a network are rounded to 8 bits, and which of them share one scale."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from tasks.training.quantize.graph import Network, Step

PASSED = ("pool", "resize", "shuffle", "concat")
"""Steps whose values have the scale of what they are made of."""
EXACT = ("add", "relu", "sigmoid")
"""Steps that get what they need in float32. Rounded before a sum and after it, values would have
twice the error."""
ROUNDED = ("conv", "relu", "resize", "add")
"""Steps whose values are rounded. What pooling and concatenation make is rounded already."""


class Groups:
    """Names that belong together, by the pairs that do."""

    def __init__(self) -> None:
        self._parents: dict[object, object] = {}

    def head(self, item: object) -> object:
        """The one that stands for all that belong together with `item`."""
        while (parent := self._parents.get(item, item)) != item:
            item = parent
        return item

    def join(self, one: object, other: object) -> None:
        """Both belong together, with all that did with either."""
        self._parents[self.head(one)] = self.head(other)


@dataclass(frozen=True)
class Plan:
    """What of a network is computed in 8 bits: all but the convolutions in `floats`."""

    network: Network
    floats: Collection[str]

    def is_exact(self, user: Step) -> bool:
        """Whether a step gets its inputs as they are, in float32."""
        if user.kind in PASSED:
            return all(self.is_exact(each) for each in self.network.users(user.name))
        return user.kind in EXACT or user.name in self.floats

    @cached_property
    def edges(self) -> Mapping[tuple[str, str], str]:
        """(value, step that gets it rounded) -> what stands for all values of its scale."""
        groups, found = Groups(), []
        for step in self.network.steps:
            for name in step.inputs:
                if self.is_exact(step):
                    continue
                found.append((name, step.name))
                if step.kind in PASSED:
                    groups.join(name, step.name)
        rounded = {step.name for step in self.network.steps if step.kind in ROUNDED}
        rounded.add(self.network.image)
        return {edge: str(groups.head(edge[0])) for edge in found if edge[0] in rounded}

    @cached_property
    def scale_names(self) -> Mapping[str, str]:
        """Value that is rounded for some step -> what stands for all values of its scale."""
        return {value: head for (value, _), head in self.edges.items()}
