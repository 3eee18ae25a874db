"""Benches tell what they measure, and by which numbers, before they start anything."""

import subprocess
import sys
from pathlib import Path

BENCHES = Path(__file__).parent / "bench"
HELP_OF_EACH = """
import pathlib, runpy, sys

for file in map(pathlib.Path, sys.argv[1:]):
    sys.path[0], sys.argv = str(file.parent), [file.name, "--help"]
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, file
    else:
        raise AssertionError(f"{file.name} has started")
"""


def test_every_bench_answers_help_instead_of_starting(tmp_path: Path) -> None:
    benches = [file for file in sorted(BENCHES.glob("*.py")) if is_bench(file)]
    assert len(benches) > 20

    told = subprocess.run(
        [sys.executable, "-c", HELP_OF_EACH, *map(str, benches)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert told.returncode == 0, told.stderr
    assert told.stdout.count("usage:") == len(benches)
    assert "BENCH_JOBS=400  jobs of each side" in told.stdout


def is_bench(file: Path) -> bool:
    """Whether a target of `make` starts it."""
    text = file.read_text()
    return text.startswith('"""make ') or f"make bench-{file.stem}" in text
