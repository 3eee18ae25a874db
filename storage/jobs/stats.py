"""The numbers of the whole installation: what is under way, and what each model has done so far."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storage.jobs import bounds
from storage.redis.answers import fields, text
from storage.redis.calls import ARRAY, Call, script


@dataclass(frozen=True)
class Group:
    """Runs under way that are alike."""

    model: str
    priority: str
    queue: str
    state: str
    """`waiting`, or the state of the stage that they are in."""
    count: int
    oldest_ms: float
    """How long the first of them has waited; 0 for runs that do not wait."""


@dataclass(frozen=True)
class Stats:
    """What is under way, and what each model has done so far: see ending.lua and claim.lua."""

    groups: Sequence[Group]
    totals: Mapping[str, Mapping[str, str]]
    after: str = ""
    """Where the next page of runs begins; empty after the last one."""

    def with_page(self, page: "Stats") -> "Stats":
        """This and the next page together."""
        groups = {_kind(group): group for group in self.groups}
        for group in page.groups:
            known = groups.get(_kind(group), replace(group, count=0))
            oldest_ms = max(group.oldest_ms, known.oldest_ms)
            count = group.count + known.count
            groups[_kind(group)] = replace(group, count=count, oldest_ms=oldest_ms)
        return Stats(list(groups.values()), {**self.totals, **page.totals}, page.after)


def read(after: str = "", most: int = bounds.MOST_LOOKED_AT) -> Call[Stats]:
    """All that /metrics says of the whole installation; runs under way come a page at a time."""

    def parse(answer: Any) -> Stats:
        next_after, groups, totals = answer
        return Stats(
            [Group(**json.loads(group)) for group in groups],
            {text(model): fields(counts) for model, counts in totals},
            text(next_after),
        )

    values = {"after": after, "most": most}
    return script("jobs/stats", parse, [], values, kinds=ARRAY)


def _kind(group: Group) -> tuple[str, str, str, str]:
    return group.model, group.priority, group.queue, group.state
