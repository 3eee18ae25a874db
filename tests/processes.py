"""What processes with all their children have used, and whether they stand still, for tests and
benches."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its living children."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def stand_still(processes: Sequence[psutil.Process], seconds: float = 10.0) -> None:
    """Return once every thread of them is stopped: a signal takes its time to reach them all."""
    end = time.monotonic() + seconds
    while moving := [state for one in processes for state in _thread_states(one.pid)]:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(moving)} threads still move after {seconds:g} s: {moving}")
        time.sleep(0.001)


def _thread_states(pid: int) -> list[str]:
    """Of each thread that is neither stopped nor gone."""
    states = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            states.append(stat.read_text().rpartition(") ")[2][0])
    return [state for state in states if state not in "TtZX"]


def cpu_s(processes: Sequence[psutil.Process], *, with_ended: bool = False) -> float:
    """CPU seconds that they have used; `with_ended`: and their children that have ended."""
    times = [process.cpu_times() for process in processes]
    ended = sum(t.children_user + t.children_system for t in times) if with_ended else 0.0
    return sum(t.user + t.system for t in times) + ended


def pss_mib(processes: Sequence[psutil.Process]) -> float:
    """Their memory in MiB, pages that several processes share divided among them (PSS)."""
    return sum(_pss_kib(process.pid) for process in processes) / 1024


def _pss_kib(pid: int) -> int:
    """Nothing for a process that has just ended, as a sandbox's does."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
