"""Where the results of `pixelmill run` are written: a folder, one file, or standard output."""

import os
from dataclasses import dataclass
from pathlib import Path

from deploy.client.folders import ENDINGS
from deploy.client.results import NIFTI
from tasks.errors import BadInput

STDOUT = "-"
FOLDER = Path("out")
FORMATS = {".webp": "webp", ".png": "png", ".avif": "avif", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""Ending of a file -> format of a cut-out."""


@dataclass(frozen=True)
class Destination:
    """A folder for all files of each result, or one file for the main picture of one photo."""

    folder: Path | None = FOLDER
    file: Path | None = None
    """Both None: standard output."""

    @property
    def is_stdout(self) -> bool:
        """Whether the picture is written to standard output."""
        return self.folder is None and self.file is None

    def check(self) -> None:
        """Raises BadInput where nothing can be written, before any photo is sent."""
        if self.is_stdout:
            return
        folder = self.folder or (self.file or FOLDER).parent
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise BadInput(f"no results can be written to {self}, as {there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise BadInput(f"no results can be written to {self}: permission denied")

    def __str__(self) -> str:
        return str(self.folder or self.file or "standard output")


def parse(word: str) -> Destination:
    """What `--out` names: `-`, a file by the ending of a picture or of JSON, else a folder."""
    if word == STDOUT:
        return Destination(None)
    path, ending = Path(word), Path(word).suffix.lower()
    if path.is_dir() or word.endswith("/"):
        return Destination(path)
    if ending in {*FORMATS, ".json"} or word.lower().endswith(NIFTI):
        return Destination(None, path)
    if ending in ENDINGS:
        names = ", ".join(FORMATS)
        raise BadInput(f"no result is written as {ending}; there are: {names}, and .json")
    if path.exists():
        raise BadInput(f"{path} is a file; --out names a folder, or a picture such as cut.png")
    return Destination(path)
