"""Which files of a folder are photos, and why the others are left out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.client import results

ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
        *(".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".jxl"),
    )
)
"""Photos in a folder, in any case. A file that is named itself is sent whatever its ending is."""
SYSTEM_FOLDERS = frozenset({"@eadir", "$recycle.bin", "system volume information", "__macosx"})
"""What Synology, Windows and Macs add to folders: thumbnails, deleted files, resource forks."""

Reason = Literal[
    "resource_fork", "hidden", "system_folder", "earlier_result", "ending", "no_file", "unreadable",
    "not_accepted", "no_volume",
]  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not sent, though it is in a folder that was named."""

    path: Path
    reason: Reason
    message: str = ""
    """The server's words, if it was the server that did not accept the file's format."""


def walk(folder: Path) -> Iterator[Path | LeftOut]:
    """The photos below a folder, and what is left out there."""
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        for name in sorted(folders):
            if reason := folder_reason(name):
                yield LeftOut(Path(parent, name), reason)
                folders.remove(name)
        for name in sorted(files):
            path = Path(parent, name)
            reason = unusable(path) or _by_ending(path)
            yield LeftOut(path, reason) if reason else path
    for error in unreadable:
        yield LeftOut(Path(str(error.filename)), "unreadable")


def folder_reason(name: str) -> Reason | None:
    """Why a folder is left out; None for one that is looked into."""
    if name.lower() in SYSTEM_FOLDERS:
        return "system_folder"
    return "hidden" if name.startswith(".") else None


def _by_ending(path: Path) -> Reason | None:
    return None if path.suffix.lower() in ENDINGS else "ending"


def unusable(path: Path) -> Reason | None:
    """Why a file is left out whatever its ending is; None for any other."""
    if path.name.startswith("._"):  # a Mac's attributes of the file of that name
        return "resource_fork"
    if path.name.startswith("."):
        return "hidden"
    if results.is_result(path):
        return "earlier_result"
    if not path.is_file():
        return "no_file"
    return None if os.access(path, os.R_OK) else "unreadable"
