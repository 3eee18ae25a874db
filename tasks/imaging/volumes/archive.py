"""A zip of files: its table of contents is checked before anything in it is unpacked."""

import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from tasks.imaging.volumes.names import natural
from tasks.imaging.volumes.sentences import Refused

_JUNK = ("__macosx/", ".ds_store", "thumbs.db", "desktop.ini", "dicomdir")
MOST_FILES = 4096


class Archive:
    """The files of a zip that may be slices."""

    def __init__(self, data: bytes, most_bytes: int) -> None:
        """Raises Refused for an archive that is broken, encrypted or unpacks to too much."""
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise Refused("bad_volume") from error
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        if len(infos) > MOST_FILES:
            raise Refused("zip_too_many", count=len(infos), most=MOST_FILES)
        size = sum(info.file_size for info in infos)
        if size > most_bytes:
            raise Refused("zip_too_large", size=size / 2**20, most=most_bytes / 2**20)
        if any(info.flag_bits & 1 for info in infos):
            raise Refused("encrypted")
        self._files = [info for info in infos if not _is_junk(info.filename)]
        if not self._files:
            raise Refused("zip_empty")

    def __len__(self) -> int:
        return len(self._files)

    @property
    def names(self) -> list[str]:
        """Of the files. They order pictures, and nothing else."""
        return [info.filename for info in self._files]

    @property
    def numbers(self) -> list[int]:
        """Of each file, as a folder that is sorted by name counts them from 1: for people, who
        find a file by it. A name itself may tell who the patient is."""
        names = self.names
        order = sorted(range(len(names)), key=lambda n: natural(names[n]))
        return [number + 1 for number in sorted(range(len(order)), key=order.__getitem__)]

    def head(self, n: int, most: int) -> bytes:
        """The first bytes of file `n`."""
        return self._read(n, most)

    def whole(self, n: int) -> bytes:
        """All bytes of file `n`, never more than the table of contents says."""
        return self._read(n, self._files[n].file_size)

    def heads(self, most: int) -> Iterator[bytes]:
        """The first bytes of each file."""
        for n in range(len(self)):
            yield self.head(n, most)

    def _read(self, n: int, most: int) -> bytes:
        try:
            with self._zip.open(self._files[n]) as file:
                return file.read(most)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError) as error:
            raise Refused("bad_volume") from error


def _is_junk(name: str) -> bool:
    lower = name.lower().replace("\\", "/")
    last = lower.rpartition("/")[2]
    return (
        lower.startswith(_JUNK[0])
        or f"/{_JUNK[0]}" in lower
        or last.startswith(_JUNK[1:])
        or (last.startswith("._"))
    )
