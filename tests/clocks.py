"""A Redis whose clock a test sets, by libfaketime (Debian's package `faketime`)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
    *Path("/usr/lib/faketime").glob("libfaketime.so.1"),
]


class Clock:
    """The wall clock of a process that is started with `env`; its monotonic clock goes on."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not there: apt-get install faketime")
        self._file = folder / "clock"
        self._seconds = 0
        self.move(0)

    @property
    def env(self) -> Mapping[str, str]:
        """What the process needs in its environment."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def move(self, seconds: int) -> None:
        """Set it forward by so many seconds, or back."""
        self._seconds += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._seconds:+d}\n")
        new.replace(self._file)
