"""Looks after this host's scratch arrays: how many bytes they take, and which are left over."""

from typing import Any

import structlog

from storage import records
from storage.errors import StorageDown
from storage.scratch import Usage, run_of
from tasks.clients import scratch, state
from tasks.loops import ThreadLoop
from tasks.settings import MIB, settings

EVERY_S = 60.0
ALLOWED_S = 600.0
ARRAY_S = 60.0
"""An array this young may be of a run that this look does not know yet."""
SHARE = 4
"""Without a setting, arrays may take one part in so many of the room there is."""
RESERVE = 16
"""One part in so many of the room is left to the runs that are under way already."""

log = structlog.get_logger()


def fullness() -> dict[str, Any]:
    """Bytes of arrays in scratch and how many there may be (0: no limit), for the catalogue."""
    try:
        usage = scratch().usage(settings().installation)
    except (StorageDown, OSError) as error:
        log.warning("scratch not measured", reason=str(error))
        return {}
    return {"scratch": {"used": max(usage.used, 1), "most": _most(usage)}}


def _most(usage: Usage) -> int:
    """Bytes that arrays may take: as is set, but no more than others leave free.

    Equal to what they take (1 at least: 0 would be no limit) where others leave nothing.
    """
    allowed = int(settings().scratch_mib * MIB) or usage.room // SHARE
    if not usage.room:
        return allowed
    free = max(usage.free - usage.room // RESERVE, 0)
    return min(allowed, max(usage.used, 1) + free)


class ScratchCleaner:
    """Removes arrays that nobody will read, from a thread of its own."""

    def __init__(self) -> None:
        self._loop = ThreadLoop("tidy", _tidy, every_s=EVERY_S, allowed_s=ALLOWED_S)

    def start(self) -> None:
        """Tidy up now and then again and again."""
        self._loop.start()

    def stop(self) -> None:
        """Leave it at that."""
        self._loop.stop()


def sweep_arrays(age_s: float = ARRAY_S) -> int:
    """Remove scratch arrays of runs that have ended or have another number now; answers how many.

    finish removes a run's own: these are what a killed worker or a stale attempt left.
    """
    old = scratch().older_than(settings().installation, age_s)
    if not old:
        return 0
    alive = _runs_under_way()
    left = [name for name in old if run_of(name) not in alive]
    if left:
        scratch().delete(*left)
        log.info("scratch arrays removed", arrays=len(left))
    return len(left)


def _tidy() -> None:
    try:
        sweep_arrays()
    except (StorageDown, OSError) as error:
        log.warning("scratch not tidied", reason=str(error))


def _runs_under_way() -> set[tuple[str, int]]:
    """As scratch names bear them: the beginning of the request key, and the number."""
    alive: set[tuple[str, int]] = set()
    after: str | None = None
    while after != "":
        page = state().do(records.under_way(after or ""))
        alive |= {(key[:32], n) for key, n in page.items}
        after = page.after
    return alive
