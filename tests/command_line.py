"""The command `pixelmill` as a process of its own, against a running server, for tests."""

import os
import subprocess
import sys
from pathlib import Path

from stack import REPOSITORY, Stack

EXAMPLES = REPOSITORY / "examples"
PIXELMILL = [sys.executable, "-W", "error", "-m", "deploy.cli"]


def environment(stack: Stack) -> dict[str, str]:
    """Variables that name the server."""
    named = {"PIXELMILL_URL": stack.url, "PIXELMILL_API_KEY": stack.api_key}
    return {**os.environ, **named, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"}


def pixelmill(folder: Path, stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command in this folder, until it ends."""
    return subprocess.run(
        [*PIXELMILL, *words],
        cwd=folder,
        env=environment(stack),
        capture_output=True,
        text=True,
        timeout=60,
    )
