"""A process that no longer works ends itself; one that was suspended is given time first."""

import pytest

from workers import watchdog
from workers.watchdog import RESTART_EXIT_CODE, Watchdog


def test_a_process_that_was_suspended_is_given_time_to_get_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a machine that slept: every loop looks late the moment it wakes up."""
    clock, codes = [1000.0], []
    monkeypatch.setattr(watchdog, "monotonic", lambda: clock[0])
    watched = Watchdog([lambda: "everything is late"], end=codes.append)
    clock[0] += 3600

    watched._check()
    assert codes == []
    for _ in range(10):
        clock[0] += watchdog.ALLOWED_S / 8
        watched._check()

    assert codes[0] == RESTART_EXIT_CODE
