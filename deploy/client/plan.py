"""What `pixelmill run --dry-run` says: what would be sent, and where results would be written."""

from collections.abc import Sequence

from deploy.client import text
from deploy.client.api import RunOptions
from deploy.client.destination import Destination
from deploy.client.display import Display
from deploy.client.folders import LeftOut
from deploy.client.outcome import Outcome
from deploy.client.text import many, shown
from deploy.client.totals import Totals
from deploy.client.words import Words


class Plan(Words):
    """Collects what would become of photos."""

    def __init__(
        self, bars: Display, destination: Destination, options: RunOptions, url: str
    ) -> None:
        super().__init__(bars, destination, is_verbose=True)
        self._options, self._url = options, url
        self._planned: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Take note of a photo."""
        if outcome.error:
            super().add(outcome)
        else:
            self._planned.append(outcome)

    def end(self, totals: Totals, left_out: Sequence[LeftOut]) -> None:
        """Say it all."""
        options, planned = self._options, totals.of("planned")
        model = f"{options.model} at {self._url}, priority {options.priority}"
        print(f"would send {many(planned, self._bars.noun)} ({text.size(totals.bytes)}) to {model}")
        if options.output:
            print(f"would ask for {options.output}")
        for outcome in sorted(self._planned, key=lambda outcome: outcome.photo.name):
            print(f"  {shown(outcome.photo.name)}{self._where(outcome)}")
        super().end(totals, left_out)

    def _where(self, outcome: Outcome) -> str:
        to = self._destination
        if outcome.status == "there":
            return ": there already; --again would send it anyway"
        if to.folder:
            return f" -> {shown(to.folder / outcome.photo.target)}.*"
        return f" -> {shown(str(to))}"

    def _say_figures(self, totals: Totals) -> None:
        print("nothing was sent, as this was a dry run")
