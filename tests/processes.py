"""What processes with all their children have used, for tests and benches."""

from collections.abc import Sequence
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its living children."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


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
