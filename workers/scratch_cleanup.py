"""Watches over this host's scratch arrays: how much room they take, and which are left over."""

import structlog

from storage.catalogue import ScratchUsage
from storage.errors import StorageDown
from storage.jobs import recovery
from storage.scratch import Usage, run_of
from tasks.clients import scratch, state
from tasks.loops import Periodic
from tasks.settings import MIB, settings

EVERY_S = 60.0
ALLOWED_S = 600.0
MIN_AGE_S = 60.0
"""A younger array may belong to a run that was queued after the list of runs was read."""
SHARE = 4
"""Without a setting, arrays may take the SHARE-th part of the file system."""
RESERVE = 16
"""The RESERVE-th part of the file system stays free for the runs that are already in progress."""

log = structlog.get_logger()


def usage() -> ScratchUsage | None:
    """Bytes of scratch arrays and how many there may be; None if they could not be measured."""
    try:
        measured = scratch().usage(settings().installation)
    except (StorageDown, OSError) as error:
        log.warning("scratch not measured", reason=str(error))
        return None
    return {"used": max(measured.used, 1), "most": _limit(measured)}


def _limit(measured: Usage) -> int:
    """Bytes that arrays may take: the setting, but no more than other files leave free.

    Where those leave nothing free, the limit equals what the arrays take already, at least 1: a 0
    would mean that there is no limit.
    """
    allowed = int(settings().scratch_mib * MIB) or measured.room // SHARE
    if not measured.room:
        return allowed
    free = max(measured.free - measured.room // RESERVE, 0)
    return min(allowed, max(measured.used, 1) + free)


class ScratchCleaner:
    """Removes arrays that will never be read, every EVERY_S seconds from a thread of its own."""

    def __init__(self) -> None:
        self._loop = Periodic("scratch cleanup", _clean, every_s=EVERY_S, max_age_s=ALLOWED_S)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End after the present turn."""
        self._loop.stop()


def remove_leftovers(min_age_s: float = MIN_AGE_S) -> int:
    """Remove arrays of runs, or attempts at runs, that are over; answers how many.

    A run that ends normally removes its own arrays. What is found here was left by a worker that
    was killed or by an attempt that was given up.
    """
    old = scratch().older_than(settings().installation, min_age_s)
    if not old:
        return 0
    in_progress = _runs_in_progress()
    leftovers = [name for name in old if run_of(name) not in in_progress]
    if leftovers:
        scratch().delete(*leftovers)
        log.info("scratch arrays removed", arrays=len(leftovers))
    return len(leftovers)


def _clean() -> None:
    try:
        remove_leftovers(MIN_AGE_S)
    except (StorageDown, OSError) as error:
        log.warning("scratch not cleaned", reason=str(error))


def _runs_in_progress() -> set[tuple[str, int]]:
    """As scratch names have them: the beginning of the run's key, and the attempt."""
    runs: set[tuple[str, int]] = set()
    after: str | None = None
    while after != "":
        page = state().do(recovery.under_way(after or ""))
        runs |= {(ref.key[:32], ref.attempt) for ref in page.items}
        after = page.after
    return runs
