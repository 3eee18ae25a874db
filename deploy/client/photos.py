"""The photos that a command line names, and where the results of each go."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from deploy.client import folders, series
from deploy.client.folders import LeftOut
from deploy.client.series import Series
from tasks.errors import BadInput

STDIN = "-"
LONGEST_NAME = 180
"""Bytes of a result's name without `.cutout.webp`; file systems take 255 in all."""


@dataclass(frozen=True)
class Photo:
    """A photo that is to be sent."""

    name: str
    """As people know it: its path, its address, or `-` for standard input."""
    target: Path
    """Where its results go below the folder of all results, without ending."""
    file: Path | None = None
    """None: it comes from an address or from standard input."""
    is_named: bool = True
    """False if it was found in a folder."""
    series: Series | None = None
    """The slices of a volume, instead of a file."""


@dataclass(frozen=True)
class Found:
    """What a command line names."""

    photos: Sequence[Photo]
    left_out: Sequence[LeftOut]


@dataclass(frozen=True)
class _Entry:
    name: str
    inside: Path
    """Its path inside the folder that was named."""
    whole: Path
    """A longer path, for photos whose paths inside their folders are equal."""
    file: Path | None = None
    """Also the folder of a series."""
    is_named: bool = True
    series: Series | None = None


def is_address(word: str) -> bool:
    """Whether a word of the command line is a photo's address on the web."""
    return word.lower().startswith(("http://", "https://"))


def find(words: Sequence[str], *, are_volumes: bool = False) -> Found:
    """The photos that these paths, addresses and `-` name; results of each go to another place.

    `are_volumes`: they are for a model of volumes, and the slices in a folder are one volume.
    Raises BadInput for a path that does not exist, and if there is no photo at all.
    """
    entries: dict[str, _Entry] = {}
    left_out: list[LeftOut] = []
    for word in words:
        for item in _found(word, are_volumes):
            if isinstance(item, LeftOut):
                left_out.append(item)
            else:
                key = str(item.file.resolve()) if item.file else item.name
                entries.setdefault(key, item)
    if not entries:
        raise BadInput(_nothing(words, left_out, are_volumes))
    return Found(_with_targets(_with_whole_paths(entries)), left_out)


def _found(word: str, are_volumes: bool) -> Iterator[_Entry | LeftOut]:
    if word == STDIN:
        yield _Entry(STDIN, Path("stdin"), Path("stdin"))
        return
    if is_address(word):
        yield _entry_of_address(word)
        return
    path = Path(word)
    if "://" in word and not path.exists():
        raise BadInput(f"{word} cannot be downloaded; addresses begin with https:// or http://")
    if not path.exists():
        raise BadInput(f"there is no file or folder {path}")
    if path.is_dir():
        yield from _in_folder(path, are_volumes)
    else:
        yield _Entry(str(path), Path(path.name), Path(path.name), path)


def _in_folder(folder: Path, are_volumes: bool) -> Iterator[_Entry | LeftOut]:
    for item in series.walk(folder) if are_volumes else folders.walk(folder):
        if isinstance(item, LeftOut):
            yield item
        elif isinstance(item, Series):
            is_all = item.folder == folder
            inside = Path(folder.resolve().name) if is_all else item.folder.relative_to(folder)
            yield _Entry(str(item.folder), inside, inside, item.folder, False, item)
        else:
            inside = item.relative_to(folder)
            yield _Entry(str(item), inside, inside, item, is_named=False)


def _entry_of_address(url: str) -> _Entry:
    """Named after the last part of its path, as far as that is a name of a file."""
    parts = urlsplit(url)
    names = [re.sub(r"[^\w .()-]", "_", unquote(part)) for part in parts.path.split("/")]
    names = [name.strip(" .") for name in names]
    path = Path(*[name for name in names if name] or ["photo"])
    return _Entry(url, Path(path.name), Path(parts.hostname or "web") / path)


def _nothing(words: Sequence[str], left_out: Sequence[LeftOut], are_volumes: bool) -> str:
    if any(item.reason == "earlier_result" for item in left_out):
        return f"only results of earlier runs in {', '.join(words)}, and no photos"
    if are_volumes:
        expected = ", ".join(f"*{ending}" for ending in series.WHOLE)
        return f"no volumes in {', '.join(words)}; expected DICOM files, {expected}"
    expected = " ".join(f"*{ending}" for ending in sorted(folders.ENDINGS))
    return f"no photos in {', '.join(words)}; expected {expected}"


def _with_whole_paths(entries: Mapping[str, _Entry]) -> list[_Entry]:
    """The entries in order; `whole` of files is their path below the folder that all have."""
    files = {key: Path(key) for key, entry in entries.items() if entry.file}
    root = Path(os.path.commonpath([path.parent for path in files.values()])) if files else Path()
    whole = {key: path.relative_to(root) for key, path in files.items()}
    ordered = sorted(entries.items(), key=lambda item: (not item[1].file, item[0]))
    return [replace(entry, whole=whole.get(key, entry.whole)) for key, entry in ordered]


def _with_targets(entries: Sequence[_Entry]) -> list[Photo]:
    """Photos with the shortest names that differ: without ending, with it, with folders above."""
    whole = Counter(_folded(entry.inside) for entry in entries)
    short = Counter(_folded(_without_ending(entry.inside)) for entry in entries)
    taken: set[str] = set()

    def target(entry: _Entry) -> Path:
        stem = _without_ending(entry.inside)
        candidates = [stem] if short[_folded(stem)] == 1 else []
        candidates += [entry.inside] if whole[_folded(entry.inside)] == 1 else []
        for path in chain(candidates, [entry.whole], _numbered(entry.whole)):
            path = _shortened(path)
            if _folded(path) not in taken:
                taken.add(_folded(path))
                return path
        raise AssertionError("numbers have no end")

    return [
        Photo(
            each.name, target(each), None if each.series else each.file, each.is_named, each.series
        )
        for each in entries
    ]


def _numbered(path: Path) -> Iterator[Path]:
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1


def _without_ending(path: Path) -> Path:
    """`.nii.gz` is one ending. A folder keeps what looks like one."""
    name = path.name.lower()
    endings = (*series.WHOLE, *series.SLICES, *folders.ENDINGS)
    known = next((each for each in endings if name.endswith(each)), "")
    return path.with_name(path.name[: -len(known)]) if known and len(name) > len(known) else path


def _folded(path: Path) -> str:
    """Equal for names that are one name to some file system."""
    return unicodedata.normalize("NFC", str(PurePosixPath(path))).casefold()


def _shortened(path: Path) -> Path:
    """The path with its name cut where it is too long for the endings of results."""
    name = os.fsencode(path.name)
    if len(name) <= LONGEST_NAME:
        return path
    cut = name[: LONGEST_NAME - 9].decode("utf-8", "ignore")
    return path.with_name(f"{cut}~{hashlib.sha256(name).hexdigest()[:8]}")
