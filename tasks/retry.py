"""Asks the storage again, for a few seconds, while it does not answer.

Every stage of every run goes through here, mostly without any error. stamina says the same in two
lines, but costs 20 microseconds per call without an error, against 0.2 for this loop, and 0.1 s of
every worker's start.
"""

import time
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from storage.errors import StorageDown

PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Pauses between the attempts."""
PATIENCE_S = 10.0
"""A storage that hangs is not asked again after this time: the message's other runs wait too."""

T = TypeVar("T")


def retry(action: Callable[[], T]) -> T:
    """The answer of `action`. Raises StorageDown when the last attempt has failed as well."""
    began = monotonic()
    for pause_s in PAUSES_S:
        try:
            return action()
        except StorageDown:
            if monotonic() - began > PATIENCE_S:
                raise
        time.sleep(pause_s)
    return action()
