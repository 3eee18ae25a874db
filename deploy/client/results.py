"""The results of `pixelmill run` on this disk: written, and found again by a later run."""

import json
import mimetypes
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from deploy.client.answers import Job, Picture
from tasks.errors import BadInput

ASKED = "run"
"""Where a result's JSON has what `pixelmill run` knows of it, beside the fields of the job."""

OTHERS = "others"
"""Where that has the names of pictures which earlier runs have written for another question."""

VIEWER = "slices"
"""What a volume's answer has for the viewer of the page, and for nobody else."""

MASK, NIFTI = "mask", ".nii.gz"
"""Of a volume: the object, and the ending of its file."""

LARGEST_JSON = 2**20
"""Bytes of a JSON file above which it is none of ours."""

Download = Callable[[str, Path], int]
"""Writes what is at an address to a file; returns its size in bytes."""


@dataclass(frozen=True)
class Asked:
    """What makes two results equal: the photo's hash, and all that was asked for."""

    sha256: str
    model: str
    params: Mapping[str, str]
    output: str

    def record(self, photo: str, files: Mapping[str, str]) -> dict[str, Any]:
        """What is written of it, with the name of the photo and the files of the result."""
        return {
            "photo": photo,
            "sha256": self.sha256,
            "model": self.model,
            "params": dict(self.params),
            "output": self.output,
            "files": dict(files),
        }


@dataclass(frozen=True)
class Saved:
    """A result on this disk."""

    job: Job
    files: Mapping[str, Path]
    """Name of the picture, or `json` -> where it is."""
    bytes: int


def json_file(target: Path) -> Path:
    """The JSON of a result; `target` is the path of its files without ending."""
    return target.with_name(f"{target.name}.json")


def earlier(target: Path, asked: Asked) -> Saved | None:
    """What an earlier run has written for the same photo, model, parameters and outputs.

    None if there is nothing, or if a file of it is gone. Raises BadInput if the JSON's place is
    taken by a file of somebody else, which must not be overwritten.
    """
    file = json_file(target)
    if not file.exists():
        return None
    job = _read(file, file.stat().st_mtime_ns)
    if job is None:
        raise BadInput(
            f"{file} exists and was not written by pixelmill",
            hint="Name another folder with --out.",
        )
    record = _record(job)
    if not isinstance(record.get("files"), dict):
        return None
    if record != {**record, **asked.record(record.get("photo", ""), record["files"])}:
        return None
    files = {name: target.with_name(Path(str(f)).name) for name, f in record["files"].items()}
    if not all(path.is_file() for path in files.values()):
        return None
    return Saved(job, files, 0)  # type: ignore[arg-type]  # as `save` has written it


def save(job: Job, target: Path, asked: Asked, photo: str, download: Download) -> Saved:
    """Write every picture of a job, then the job itself as JSON.

    `target`: path without ending. `photo`: its name, for the JSON.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files, size = {}, 0
    for name, picture in job["result"]["objects"].items():
        if name == VIEWER and job["result"].get("kind") == "volume":
            continue
        if not re.fullmatch(r"\w[\w-]*", name):  # it becomes part of a path on this disk
            raise BadInput(f"the server sent a picture with the unexpected name {name!r}")
        files[name] = target.with_name(f"{target.name}.{name}{ending_of(picture)}")
        size += _write(files[name], partial(download, picture["url"]))
    record = asked.record(photo, {name: file.name for name, file in files.items()})
    record[OTHERS] = _others(target, set(record["files"].values()))
    text = json.dumps({**job, ASKED: record}, indent=1).encode()
    files["json"] = json_file(target)
    size += _write(files["json"], lambda new: new.write_bytes(text))
    return Saved(job, files, size)


def save_as(job: Job, file: Path, wanted: str, download: Download) -> Saved:
    """Write the main picture of a job to this file, or the job itself if it is named `*.json`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".json":
        text = json.dumps(job, indent=1).encode()
        return Saved(job, {"json": file}, _write(file, lambda new: new.write_bytes(text)))
    name = _volume_mask(job, file) or main_picture(job, wanted)
    picture = job["result"]["objects"][name]
    expected = ending(picture["type"])
    if not name == MASK and not is_ending_of(file.suffix, picture["type"]):
        raise BadInput(
            f"{name} comes as {picture['type']}, which {file.name} is no name for",
            hint=f"Name it {file.with_suffix(expected).name}.",
        )
    return Saved(job, {name: file}, _write(file, partial(download, picture["url"])))


def _volume_mask(job: Job, file: Path) -> str:
    """MASK for a file that is named as a NIfTI is, if the answer has that."""
    mask = job["result"]["objects"].get(MASK)
    is_named_so = file.name.lower().endswith(NIFTI)
    return MASK if mask and is_named_so and ending_of(mask) == NIFTI else ""


def main_picture(job: Job, wanted: str) -> str:
    """The name of the picture that was asked for, or of the cut-out, the preview, or the only one.

    `wanted`: the outputs that were asked for, comma-separated. BadInput if there is no picture.
    """
    names = list(job["result"]["objects"])
    asked = wanted.split(",")[0].partition("-")[0]  # cutout-png is the cut-out
    for name in (asked, "cutout", "preview", *names):
        if name in names:
            return name
    raise BadInput(
        "this model makes no picture", hint="Its answer is printed by --json, and by -o NAME.json."
    )


def is_result(path: Path) -> bool:
    """Whether a file was written by an earlier run: its JSON lies beside it and names it."""
    is_json = path.suffix.lower() == ".json"
    stem, _, name = path.name.removesuffix(
        NIFTI if path.name.endswith(NIFTI) else path.suffix
    ).rpartition(".")
    if not stem and not is_json:
        return False
    file = path if is_json else path.with_name(f"{stem}.json")
    try:
        stat = file.stat()
    except OSError:
        return False
    job = _read(file, stat.st_mtime_ns) if stat.st_size <= LARGEST_JSON else None
    if job is None:
        return False
    objects = (job.get("result") or {}).get("objects", {})
    return is_json or name in objects or path.name in _record(job).get(OTHERS, [])


def ending_of(picture: Picture) -> str:
    """The ending of a picture's file; of a file that is no picture, what it is called by."""
    name = PurePosixPath(urlsplit(picture["url"]).path).name
    if picture["type"].startswith("image/") or "." not in name:
        return ending(picture["type"])
    return re.sub(r"[^.\w]", "", name[name.index(".") :])


def ending(media_type: str) -> str:
    """The usual ending of a picture's file, such as `.webp`."""
    known = {"image/webp": ".webp", "image/avif": ".avif", "image/jpeg": ".jpg"}
    return known.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"


def is_ending_of(suffix: str, media_type: str) -> bool:
    """Whether a file of this type may have this ending, in any case."""
    also = {".jpg": {".jpeg", ".jpe", ".jfif"}}
    usual = ending(media_type)
    return suffix.lower() in {usual, *also.get(usual, set())}


@lru_cache(maxsize=64)
def _read(file: Path, changed_ns: int) -> dict[str, Any] | None:
    """The job in a JSON file that we have written; None for any other file.

    `changed_ns` is the file's time of change, so that a file that has changed is read again.
    """
    try:
        job = json.loads(file.read_bytes())
    except ValueError:
        return None
    return job if isinstance(job, dict) and {"id", "state", "result"} <= job.keys() else None


def _record(job: Mapping[str, Any]) -> dict[str, Any]:
    """What `pixelmill run` has written of a job; empty in the JSON of `-o NAME.json`."""
    record = job.get(ASKED)
    return record if isinstance(record, dict) else {}


def _others(target: Path, names: set[str]) -> list[str]:
    """The pictures that earlier runs have written beside these, as their JSON is written over.

    Without them a later run over the same folder would take them for photos.
    """
    file = json_file(target)
    job = _read(file, file.stat().st_mtime_ns) if file.exists() else None
    record = _record(job or {})
    known = {*record.get(OTHERS, []), *(record.get("files") or {}).values()} - names
    return sorted(name for name in known if target.with_name(name).is_file())


def _write(file: Path, write: Callable[[Path], int]) -> int:
    """Write a file as a whole or not at all; returns its size in bytes."""
    new = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        size = write(new)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    return size
