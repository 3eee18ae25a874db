"""What a process says of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY

SECRET = "GET /bucket/key?X-Amz-Signature=00112233"
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


@pytest.mark.parametrize("library", ["botocore.auth", "urllib3.connectionpool", "httpx"])
def test_libraries_do_not_log_whole_requests_whatever_the_level(library: str) -> None:
    code = (
        "import logging; from tasks.log import configure; configure('debug')\n"
        "logging.basicConfig(level='DEBUG')\n"  # as Celery does
        f"logging.getLogger({library!r}).info({SECRET!r})\n"
        "logging.getLogger('other').debug('heard')"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )

    assert "heard" in out.stderr and SECRET not in out.stderr
