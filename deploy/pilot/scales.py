"""The same comparison for many days, scales and times to start, in one table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from rich.console import Console
from rich.progress import track
from rich.table import Table

from deploy.pilot import least, traffic
from deploy.pilot.scalers import Pilot, Static, Utilisation, peak_workers
from deploy.pilot.simulation import Machine, Result, Simulation

SCALES = (0.1, 1 / 3, 1.0, 10 / 3)
"""Times the arrivals of `--peak`: by its default from 3 workers of static peak to 75."""
START_S = (10.0, 120.0)
"""How long a worker may need to start, besides the machine's own time."""
AS_QUICK = 1.02
"""Up to so many times the 95th percentile is equally quick; two draws of the arrivals of a day
with few workers differ by more (docs/pilot.md)."""


@dataclass(frozen=True)
class Row:
    """One day, scaled in three ways."""

    peak: float
    """Runs a second in the day's busiest minute."""
    start_s: float
    day: int
    least_share: float
    """GPU-hours of one who knows the rates, as a part of static peak's."""
    static: Result
    utilisation: Result
    pilot: Result

    @property
    def share(self) -> float:
        """The pilot's GPU-hours, as a part of static peak's."""
        return self.pilot.worker_s / self.static.worker_s

    @property
    def missed(self) -> list[str]:
        """Which goals the pilot has missed."""
        goals = {
            "as quick": self.pilot.p95_s <= AS_QUICK * self.static.p95_s,
            "half": self.share <= 0.5,
            "calmer": self.pilot.actions < self.utilisation.actions,
            "no up-down-up": not self.pilot.oscillations(),
        }
        return [name for name, is_met in goals.items() if not is_met]


def cases(days: int, own_start_s: float) -> list[tuple[float, float, int]]:
    """(part of the peak, start time, day): all scales, the largest only for the first day, and the
    two in the middle with other start times."""
    numbers = range(1, days + 1)
    of_scales = [of for of in product(SCALES, [own_start_s], numbers) if of[0] <= 1 or of[2] == 1]
    of_starts = product(SCALES[1:3], START_S, numbers[:2])
    return [*of_scales, *of_starts]


def played(peak: float, machine: Machine, room: float, days: int) -> list[Row]:
    """All cases, which takes minutes: a progress bar is shown."""
    found = []
    all_cases, bar = cases(days, machine.start_s), Console(stderr=True)
    for times, start_s, number in track(all_cases, "playing days", console=bar):
        rates = traffic.day(peak * times, number)
        found.append(play(peak * times, number, rates, replace(machine, start_s=start_s), room))
    return found


def play(peak: float, number: int, rates: Sequence[float], machine: Machine, room: float) -> Row:
    """One case: these rates, with the same arrivals for each way to scale."""
    moments = traffic.arrivals(rates, number)
    fixed = min(peak_workers(rates, machine), machine.most)
    scalers = (Static(fixed), Utilisation(), Pilot(machine, room=room))
    static, utilisation, pilot = (Simulation(machine, of).run(moments) for of in scalers)
    hours = least.gpu_hours(rates, machine.soon_s)
    share = hours * 3600 / static.worker_s
    return Row(peak, machine.start_s, number, share, static, utilisation, pilot)


def show(found: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(
        "Peak", "Start", "Day", "95 % static", "pilot", "GPU-hours static", "pilot", "least",
        "Degraded", "Actions by use", "pilot", "Up-down-up", "Missed",
    )  # fmt: skip
    for row in found:
        table.add_row(
            f"{row.peak:.3g}/s",
            f"{row.start_s:g} s",
            str(row.day),
            f"{row.static.p95_s:.2f} s",
            f"{row.pilot.p95_s:.2f} s",
            f"{row.static.worker_s / 3600:.0f}",
            f"{100 * row.share:.0f} %",
            f"{100 * row.least_share:.0f} %",
            f"{100 * row.pilot.lighter / len(row.pilot.took_s):.1f} %",
            str(row.utilisation.actions),
            str(row.pilot.actions),
            str(row.pilot.oscillations()),
            ", ".join(row.missed) or "none",
        )
    Console(width=140).print(table)
