"""make pilot: the pilot keeps a real installation level, on a simulated device.

A real Prometheus and Alertmanager watch it. Each step (steps.py) changes the world, and waits for
what the pilot makes of it. Prints a table, writes var/bench/pilot.json; the exit code says whether
all held. `--only 'load step'` does one step alone; `--no-times` does not judge how long things
take, for machines that are busy with something else.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
import steps
import table
from mill import Mill

STEPS: Mapping[str, Callable[[Mill], steps.Figures]] = {
    "load step": steps.load_step,
    "slow device": steps.slow_device,
    "flapping": steps.flapping,
    "failing version": steps.failing_version,
    "silent Redis": steps.silent_redis,
}
MOST = {"load step": {"ordered_s": 30.0}, "failing version": {"back_s": 60.0}}
"""Step -> figure -> what it may be at most."""


def main() -> None:
    """Every step that is asked for; exit code 1 if one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=STEPS, help="one step alone")
    parser.add_argument("--no-times", action="store_true", help="judge no times")
    args, began = parser.parse_args(), time.monotonic()
    figures: steps.Figures = {}
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        mill = Mill(Path(folder))
        try:
            mill.start()
            for name in [args.only] if args.only else STEPS:
                measured, reason = _attempt(STEPS[name], mill)
                reason = reason or ("" if args.no_times else _too_long(name, measured))
                said = ", ".join(f"{what} {value:.4g}" for what, value in measured.items())
                rows.append((name, f"FAILED: {reason}" if reason else "holds", said))
                print(*rows[-1], sep=" | ", flush=True)
                prefix = name.lower().replace(" ", "_")
                figures |= {f"{prefix}.{what}": round(value, 2) for what, value in measured.items()}
                figures[f"{prefix}.holds"] = float(not reason)
            _show_log(mill)
        finally:
            mill.stop()
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    table.show(f"The pilot, {figures['minutes']} minutes", ("step", "", "seen"), rows)
    table.save("pilot", figures)
    raise SystemExit(any(verdict != "holds" for _, verdict, _ in rows))


def _attempt(step: Callable[[Mill], steps.Figures], mill: Mill) -> tuple[steps.Figures, str]:
    """What a step measured, and why it does not hold."""
    try:
        return step(mill), ""
    except AssertionError as error:
        return {}, str(error) or "it did not hold"


def _too_long(name: str, measured: steps.Figures) -> str:
    over = [
        f"{what} is {measured[what]:.0f}, at most {most:g} is allowed"
        for what, most in MOST.get(name, {}).items()
        if measured[what] > most
    ]
    return "; ".join(over)


def _show_log(mill: Mill) -> None:
    print("\nWhat the pilot decided:")
    for of in reversed(mill.log()):
        print(f"  {of.rule:10} {of.outcome:10} {of.action}: {of.reason}")


if __name__ == "__main__":
    main()
