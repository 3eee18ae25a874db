"""make bench-memory: what a whole installation takes when it is idle, by program.

`pixelmill up` with one model (`--models` for others) in an empty folder, some photos, a minute of
rest. PSS is what a process has in memory, pages shared with others divided among them, so the sum
is what the installation takes. Arrays in /dev/shm and what Redis has on disk are not in it.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("PIXELMILL_WEIGHTS_DIR", str(Path("var/weights").absolute()))
from local_up import Up
from processes import pss_mib, tree
from stack import free_port

GOAL_MIB = 0.9 * 1024
PHOTOS = 4


def main() -> None:
    """Run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="matting")
    parser.add_argument("--rest-s", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env = {"PIXELMILL_MODELS": options.models}
        up = Up(Path(folder), "--port", str(free_port()), env=env)
        try:
            up.wait_until_ready()
            at_once = sum(by_program(up).values())
            for _ in range(PHOTOS):
                up.predict().raise_for_status()
            time.sleep(options.rest_s)
            programs = by_program(up)
        finally:
            up.stop()
    total = sum(programs.values())
    show("Idle, after some photos", ("program", "PSS MiB"),
         [(name, f"{mib:.0f}") for name, mib in [*programs.items(), ("all", total)]])  # fmt: skip
    print(f"\nBefore the first photo: {at_once:.0f} MiB")
    verdict("PSS of a whole installation, MiB", round(total, 1), GOAL_MIB)
    figures = {f"{name}_mib": round(mib, 1) for name, mib in programs.items()}
    save("memory", figures | {"all_mib": round(total, 1), "before_first_photo_mib": at_once})


def by_program(up: Up) -> dict[str, float]:
    """PSS in MiB of each program with its children; `up` itself is without those."""
    programs = {name: pss_mib(tree(pid)) for name, pid in up.pids.items()}
    return {"up": pss_mib([psutil.Process(up.process.pid)])} | programs


if __name__ == "__main__":
    main()
