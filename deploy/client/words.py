"""What `pixelmill run` says to people: what was done, what failed and why, what was left out."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.client import text
from deploy.client.destination import Destination
from deploy.client.display import Display
from deploy.client.folders import LeftOut
from deploy.client.outcome import Outcome, sentence
from deploy.client.text import many, shown
from deploy.client.totals import Totals

NAMED = 10
"""So many photos with one and the same error are named; --verbose names all."""
LABELS = 3
"""So many labels of a photo are said."""


class Words:
    """Collects what becomes of photos, and says it in as few lines as possible."""

    def __init__(self, bars: Display, destination: Destination, *, is_verbose: bool) -> None:
        self._bars, self._destination, self._is_verbose = bars, destination, is_verbose
        self._began = time.monotonic()
        self._failed: dict[str, list[str]] = defaultdict(list)
        self._not_accepted: dict[str, list[str]] = defaultdict(list)
        self._noted: dict[str, list[str]] = defaultdict(list)
        self._last: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        """Take note of a photo; with --verbose, say at once what became of it."""
        name = shown(outcome.photo.name)
        if outcome.error:
            where = self._failed if outcome.status == "failed" else self._not_accepted
            where[sentence(outcome.error)].append(name)
        if outcome.status == "done" and outcome.job:
            for note in outcome.job["result"].get("notes") or []:
                self._noted[note["message"]].append(name)
        self._last = outcome
        if self._is_verbose and not outcome.error:
            self._bars.say(self._line(outcome))

    def end(self, totals: Totals, left_out: Sequence[LeftOut]) -> None:
        """Say it all: errors and notes on standard error, the figures on standard output."""
        self._say_groups(self._failed, "", "red")
        self._say_groups(self._not_accepted, "left out, as the server does not take it: ", "yellow")
        self._say_groups(self._noted, "note: ", "")
        self._say_left_out(left_out)
        if not self._destination.is_stdout:
            self._say_figures(totals)
        if totals.signal:
            self._bars.say(_stopped(totals, self._destination), "yellow")
        elif totals.not_sent:
            self._bars.say(f"stopped, as the rest would fail so too; not sent: {totals.not_sent}")

    def _say_figures(self, totals: Totals) -> None:
        done, failed = totals.of("done"), totals.of("failed")
        if totals.photos == 1 and done and self._last and not self._is_verbose:
            print(self._line(self._last))
        counts = f"{done} done, {totals.cached} of them cached, {failed} failed"
        seconds = time.monotonic() - self._began
        where = f", {text.size(totals.bytes)} in {shown(str(self._destination))}"
        print(f"{counts}; {seconds:.1f} s{where if done else ''}")
        if there := totals.of("there"):
            were = "was" if there == 1 else "were"
            print(f"{there} of {totals.photos} {were} there already; --again sends them anyway")

    def _say_left_out(self, left_out: Sequence[LeftOut]) -> None:
        if not left_out:
            return
        if not self._is_verbose:
            self._bars.say(f"left out: {text.left_out(left_out)}")
        for item in left_out if self._is_verbose else ():
            self._bars.say(f"left out: {shown(item.path)} ({text.WHY[item.reason]})")

    def _say_groups(self, groups: dict[str, list[str]], before: str, style: str) -> None:
        for message, names in groups.items():
            if len(names) == 1:
                self._bars.say(f"{before}{names[0]}: {shown(message)}", style)
                continue
            self._bars.say(f"{before}{many(len(names), self._bars.noun)}: {shown(message)}", style)
            named = sorted(names) if self._is_verbose else sorted(names)[:NAMED]
            for name in named:
                self._bars.say(f"    {name}")
            if rest := len(names) - len(named):
                self._bars.say(f"    and {rest} more, which --verbose names")

    def _line(self, outcome: Outcome) -> str:
        name = shown(outcome.photo.name)
        if outcome.status == "there":
            return f"{name}: there already"
        if outcome.status == "cancelled":
            return f"{name}: cancelled"
        files = ", ".join(shown(file) for file in outcome.files.values())
        cached = ", cached" if outcome.job and outcome.job["cached"] else ""
        labels = _labels(outcome.job["result"]["data"]) if outcome.job else ""
        return f"{name} -> {files} ({outcome.seconds:.1f} s{cached}){labels}"


def _stopped(totals: Totals, destination: Destination) -> str:
    done = totals.of("done") + totals.of("there")
    line = f"stopped: {done} of {totals.photos} done, {totals.of('cancelled')} cancelled"
    if totals.not_sent:
        line += f", {totals.not_sent} not sent"
    if not destination.folder:
        return line
    return f"{line}. To go on, give the same command again: what is done is not sent again."


def _labels(data: Mapping[str, Any]) -> str:
    """The first labels of an answer, or its regions, if that is what the model gives."""
    regions = data.get("regions") or []
    if sizes := [f"{item['label']} {item['ml']:,.0f} ml" for item in regions if item.get("ml")]:
        return f": {', '.join(sizes)}"
    labels = data.get("labels") or []
    said = [f"{item['label']} {item['score']:.0%}" for item in labels[:LABELS] if "score" in item]
    return f": {', '.join(said)}" if said else ""
