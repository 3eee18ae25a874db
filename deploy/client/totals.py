"""What all photos of a run came to: the figures of its last line."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.client.folders import LeftOut
from deploy.client.outcome import Outcome, Status, is_same_for_all

DONE, FAILED, WRONG_USE, NO_SERVER = 0, 1, 2, 3
"""Exit codes of `pixelmill run`. A signal gives 128 and its number: Ctrl-C is 130."""


@dataclass
class Totals:
    """Counts what becomes of photos, as they end."""

    photos: int
    left_out: int
    cached: int = 0
    """Of those that are done: known to the server already."""
    bytes: int = 0
    """Of what was written, or of what would be sent."""
    is_wrong_use: bool = False
    """Whether a photo was refused as every other would be: for a parameter, say."""
    signal: int = 0
    """What has stopped the run; 0: nothing."""

    def __init__(self, photos: int, left_out: Sequence[LeftOut]) -> None:
        self.photos, self.left_out = photos, len(left_out)
        self._by_status: Counter[Status] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count a photo."""
        self._by_status[outcome.status] += 1
        self.bytes += outcome.bytes
        if outcome.status == "done" and outcome.job and outcome.job["cached"]:
            self.cached += 1
        if outcome.status == "not_accepted":
            self.left_out += 1
        if is_same_for_all(outcome.error):
            self.is_wrong_use = True

    def of(self, status: Status) -> int:
        """How many photos came to this."""
        return self._by_status[status]

    @property
    def not_sent(self) -> int:
        """Photos that nothing was done for, since the run was stopped."""
        return self.photos - sum(self._by_status.values())

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        if self.signal:
            return 128 + self.signal
        if self.is_wrong_use:
            return WRONG_USE
        return FAILED if self.of("failed") or self.not_sent else DONE
