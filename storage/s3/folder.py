"""Objects as files in a folder, for benches and for tests of what is not S3."""

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from heapq import nsmallest
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from storage.s3.objects import Listed, Stat


class FolderObjects:
    """Objects as files under `root`. Nothing is signed.

    No Path of a file is made: Python keeps the parts of each in a table of names, which grows.
    """

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}/"

    def get(self, key: str, etag: str = "") -> bytes:
        """The bytes; with `etag`, FileNotFoundError when they are no longer those."""
        with open(self._prefix + key, "rb") as file:
            data = file.read()
        if etag and etag != _etag(data):
            raise FileNotFoundError(key)
        return data

    def open(self, key: str) -> BinaryIO:
        """The file, to be read in parts and closed."""
        return open(self._prefix + key, "rb")

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store the bytes; answers their ETag."""
        path = self._prefix + key
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return _etag(data)

    def stat(self, key: str) -> Stat:
        """Size and ETag; the type is not kept."""
        data = self.get(key)
        return Stat(len(data), _etag(data), "")

    def copy(self, source: str, target: str) -> None:
        """Make `target` the same bytes as `source`."""
        self.put(target, self.get(source), "")

    def delete(self, key: str) -> None:
        """Remove it; a missing one is no error."""
        with suppress(FileNotFoundError):
            os.unlink(self._prefix + key)

    def delete_all(self, prefix: str) -> None:
        """Remove every object whose key starts so."""
        start = self._prefix + prefix
        for path in list(files_below(os.path.dirname(start))):
            if path.startswith(start):
                os.unlink(path)

    def erase_page(self, prefix: str) -> int:
        """Remove every object whose key starts so, and the folders; answers how many."""
        paths = files_below(self._prefix + os.path.dirname(prefix))
        going = [path for path in paths if path.startswith(self._prefix + prefix)]
        for path in going:
            os.unlink(path)
        if prefix.endswith("/"):
            shutil.rmtree(self._prefix + prefix, ignore_errors=True)
        return len(going)

    def page(self, prefix: str, after: str, most: int) -> list[Listed]:
        """The first `most` files of `prefix` whose keys come after `after`, in order."""
        # One at a time: the folder may hold more than is worth holding in memory.
        paths = files_below(self._prefix + prefix.rstrip("/"))
        keys = (path.removeprefix(self._prefix) for path in paths)
        first = nsmallest(most, (key for key in keys if key > after))
        return [Listed(key, os.stat(self._prefix + key).st_mtime) for key in first]

    def presign_get(self, key: str, origin: str, content_type: str) -> str:
        """The file's address."""
        return f"file://{quote(self._prefix + key)}"

    def presign_put(self, key: str, origin: str, content_type: str, size: int | None) -> str:
        """The file's address."""
        return f"file://{quote(self._prefix + key)}"


def files_below(folder: str) -> Iterator[str]:
    """Paths of all files below a folder, in no order; folders may go meanwhile."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path)
            else:
                yield entry.path


def _etag(data: bytes) -> str:
    """Of the bytes, as S3's is, but quick to make: whoever reads from S3 does not hash for that."""
    return f'"{len(data):x}-{zlib.crc32(data):08x}"'
