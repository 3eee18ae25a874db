"""The files of `pixelmill run`: which photos are sent, and where their results are written."""

import json
import mimetypes
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.client.api import Job
from tasks.errors import BadInput

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif"})
"""Photos in a folder. A file that is named itself is sent whatever its ending is."""


def find(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Photo -> where its results go below `out`, without ending; each goes to another place.

    Raises BadInput for a path that does not exist, and if there is no photo at all.
    """
    inside: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"there is no file or folder {path}")
        for file in _photos(path, out.resolve()) if path.is_dir() else [path]:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            inside.setdefault(file.resolve(), name)
    if not inside:
        expected = " ".join(f"*{ending}" for ending in sorted(ENDINGS))
        raise BadInput(f"no photos in {', '.join(map(str, paths))}; expected {expected}")
    return _distinct(inside)


def save(job: Job, target: Path, fetch: Callable[[str], bytes]) -> int:
    """Write every picture of a job, then the job itself as JSON; returns the number of bytes.

    `target`: path without ending. `fetch` downloads an address.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    contents = {}
    for name, picture in job["result"]["objects"].items():
        if not re.fullmatch(r"\w[\w-]*", name):  # it becomes part of a path on this disk
            raise BadInput(f"the server sent a picture with the unexpected name {name!r}")
        contents[f"{name}{_ending(picture['type'])}"] = fetch(picture["url"])
    contents["json"] = json.dumps(job, indent=1).encode()
    for name, data in contents.items():
        file = target.with_name(f"{target.name}.{name}")
        new = file.with_name(f"{file.name}.part")
        new.write_bytes(data)
        new.replace(file)
    return sum(map(len, contents.values()))


def _photos(folder: Path, out: Path) -> list[Path]:
    """The photos below a folder, in order, without the results of earlier runs."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return sorted(path for path in paths if path.is_file() and not _is_result(path, out))


def _is_result(path: Path, out: Path) -> bool:
    job = path.with_name(path.name.rsplit(".", 2)[0] + ".json")
    return "." in path.stem and out in path.resolve().parents and job.is_file()


def _distinct(inside: Mapping[Path, Path]) -> dict[Path, Path]:
    """The shortest names that differ: without ending, with it, with the folders above.

    `inside`: file -> its path inside the folder that was named.
    """
    root = Path(os.path.commonpath([file.parent for file in inside]))
    whole = Counter(inside.values())
    short = Counter(path.with_suffix("") for path in inside.values())

    def name(file: Path, path: Path) -> Path:
        if short[path.with_suffix("")] == 1:
            return path.with_suffix("")
        return path if whole[path] == 1 else file.relative_to(root)

    targets = {file: name(file, path) for file, path in inside.items()}
    if len(set(targets.values())) == len(targets):
        return targets
    return {file: file.relative_to(root) for file in inside}  # a.jpg, a.png and a.jpg.png


def _ending(media_type: str) -> str:
    known = {"image/webp": ".webp", "image/avif": ".avif"}  # not in every Python's table
    return known.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"
