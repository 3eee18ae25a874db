"""One simulated day, four ways to scale, one table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from deploy.pilot import least, traffic
from deploy.pilot.scalers import Pilot, QueueLength, Static, Utilisation, peak_workers
from deploy.pilot.simulation import Machine, Result, Simulation


def compare(rates: Sequence[float], machine: Machine, room: float = 2) -> list[Result]:
    """The results of each way, the pilot's last; all see the same arrivals.

    `room`: workers that the pilot keeps free, in standard deviations of how many are busy.
    """
    moments = traffic.arrivals(rates)
    peak = min(peak_workers(rates, machine), machine.most)
    scalers = (Static(peak), QueueLength(), Utilisation(), Pilot(machine, room=room))
    return [Simulation(machine, scaler).run(moments) for scaler in scalers]


def numbers(of: Result) -> dict[str, float | str]:
    """A row of the table."""
    return {
        "name": of.name,
        "runs": len(of.took_s),
        "p95_s": round(of.p95_s, 3),
        "degraded_percent": round(100 * of.lighter / max(len(of.took_s), 1), 2),
        "gpu_hours": round(of.worker_s / 3600, 1),
        "actions": of.actions,
        "up_down_up": of.oscillations(),
    }


def show(results: Sequence[Result], rates: Sequence[float], machine: Machine) -> None:
    """Print the table, and below it what nobody can go below."""
    table = Table("Scaled by", "95 %", "Degraded", "GPU-hours", "Actions", "Up-down-up")
    for row in map(numbers, results):
        table.add_row(
            str(row["name"]),
            f"{row['p95_s']:.2f} s",
            f"{row['degraded_percent']:.1f} %",
            f"{row['gpu_hours']:.1f}",
            str(row["actions"]),
            str(row["up_down_up"]),
        )
    Console().print(f"{len(results[0].took_s):,} runs; up-down-up: within five minutes")
    Console().print(table)
    hours = least.gpu_hours(rates, machine.soon_s)
    Console().print(
        f"Who knows each minute's rate beforehand and lets {100 * least.MAY_WAIT:.0f} of 100 runs "
        f"wait needs about {hours:.1f} GPU-hours."
    )
