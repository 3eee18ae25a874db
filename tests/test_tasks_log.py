"""What a process says of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY

FULL = Path("/dev/full")
"""Every write to it fails: no space left on device."""


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full on this system")
def test_a_log_that_cannot_be_written_fails_nobody() -> None:
    code = (
        "import structlog; from tasks.log import configure; configure('info')\n"
        "for number in range(3): structlog.get_logger().info('said', number=number)\n"
        "print('went on', flush=True)"
    )

    with open(FULL, "w") as full:
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=full
        )

    assert out.stdout == b"went on\n"
