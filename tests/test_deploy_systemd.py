"""The units of deploy/systemd are what systemd takes, without a word of warning."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY

UNITS = REPOSITORY / "deploy" / "systemd"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units_without_a_word(tmp_path: Path) -> None:
    for unit in UNITS.glob("pixelmill*.*"):
        # It also looks for the programs, which are elsewhere here.
        text = unit.read_text().replace("/opt/pixelmill/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text)
    gpu = tmp_path / "pixelmill-gpu@0.service"
    shutil.copy(tmp_path / "pixelmill-gpu@.service", gpu)
    files = [str(file) for file in tmp_path.iterdir()]

    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)

    assert (done.stdout + done.stderr, done.returncode) == ("", 0)  # unknown keys end with 0 too
    assert len(files) == 5


def test_units_wait_for_a_stop_that_loses_nothing() -> None:
    for unit in UNITS.glob("*.service"):
        assert "TimeoutStopSec=90\n" in unit.read_text(), unit.name
        assert "KillMode=mixed\n" in unit.read_text(), unit.name
