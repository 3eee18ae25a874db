"""Writes files that hold passwords."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Replace the file as a whole; only the user of this process can read it."""
    new = file.with_name(f"{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    new.replace(file)
