"""Looks after this host's scratch arrays: how many bytes they take, and which are left over."""

from typing import Any

import structlog

from storage.errors import StorageDown
from tasks import sweeper
from tasks.loops import ThreadLoop
from tasks.resources import scratch
from tasks.settings import MIB, settings

EVERY_S = 60.0
ALLOWED_S = 600.0
SHARE = 4
"""Without a setting, arrays may take one part in so many of the room there is."""

log = structlog.get_logger()


def fullness() -> dict[str, Any]:
    """Bytes of arrays in scratch and how many there may be (0: no limit), for the catalogue."""
    try:
        usage = scratch().usage(settings().installation)
    except (StorageDown, OSError) as error:
        log.warning("scratch not measured", reason=str(error))
        return {}
    most = int(settings().scratch_mib * MIB) or usage.room // SHARE
    return {"scratch": {"used": usage.used, "most": most}}


class Tidier:
    """Removes arrays that nobody will read, from a thread of its own."""

    def __init__(self) -> None:
        self._loop = ThreadLoop("tidy", _tidy, every_s=EVERY_S, allowed_s=ALLOWED_S)

    def start(self) -> None:
        """Tidy up now and then again and again."""
        self._loop.start()

    def stop(self) -> None:
        """Leave it at that."""
        self._loop.stop()


def _tidy() -> None:
    try:
        sweeper.sweep_arrays()
    except (StorageDown, OSError) as error:
        log.warning("scratch not tidied", reason=str(error))
