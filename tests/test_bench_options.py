"""Benches tell what they measure, and by which numbers, before they start anything."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent / "bench"


def is_bench(file: Path) -> bool:
    """Whether a target of `make` starts it."""
    text = file.read_text()
    return text.startswith('"""make ') or f"make bench-{file.stem}" in text


@pytest.mark.parametrize(
    "file", [file for file in sorted(BENCHES.glob("*.py")) if is_bench(file)], ids=lambda f: f.stem
)
def test_a_bench_reads_its_options_first(file: Path) -> None:
    [main] = [
        item
        for item in ast.parse(file.read_text()).body
        if isinstance(item, ast.FunctionDef) and item.name == "main"
    ]
    first = main.body[1] if ast.get_docstring(main) else main.body[0]

    assert "parser(__doc__)" in ast.unparse(first) or "ArgumentParser(" in ast.unparse(first)


def test_help_says_what_a_bench_measures_and_by_which_numbers() -> None:
    command = [sys.executable, str(BENCHES / "fair.py"), "--help"]

    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "what a photo waits behind another user's 500" in told
    assert "BENCH_JOBS=500  jobs of the other user" in told
