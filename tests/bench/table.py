"""Prints a bench's table and writes its figures, flat, to var/bench/<name>.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table, columns as wide as they need."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def verdict(what: str, value: float, goal: float, *, at_most: bool = True) -> None:
    """One line per goal: reached or missed, with both figures."""
    reached = value <= goal if at_most else value >= goal
    sign = "<=" if at_most else ">="
    print(f"{'reached' if reached else 'MISSED '}  {what}: {value:g} (goal {sign} {goal:g})")


def save(name: str, figures: Mapping[str, float]) -> None:
    """Write the figures where the benches' readers look for them."""
    folder = Path("var/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(dict(figures), indent=1) + "\n")
