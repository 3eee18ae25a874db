"""Files of ours alone in a folder that is everybody's, as /dev/shm is."""

import errno
import fcntl
import os
from collections.abc import Sequence
from io import FileIO


def write_new(path: str, parts: Sequence[bytes | memoryview]) -> None:
    """Write a file that is ours alone: /dev/shm is everybody's.

    What lies there by that name goes first: an earlier try's, or somebody else's file or link,
    which must be neither written to nor kept.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        file = _opened(path, flags)
    except FileExistsError:
        os.unlink(path)
        file = _opened(path, flags)
    try:
        for part in parts:
            _write_all(file, part)
    finally:
        os.close(file)


def own_file(path: str) -> tuple[int, int]:
    """Descriptor and size of the file of that name, to read and close; FileNotFoundError if it is
    not one that we have written."""
    try:
        file = _opened(path, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link
            raise
        raise FileNotFoundError(path) from error
    stat = os.fstat(file)
    if stat.st_uid != os.geteuid():
        os.close(file)
        raise FileNotFoundError(path)
    return file, stat.st_size


def locked_file(path: str, operation: int) -> FileIO:
    """The lock file of that name, locked by this operation of flock until it is closed.

    Its holder may remove it. Whoever opened it just before would then hold a lock that nobody else
    sees, and opens the next one instead. Raises BlockingIOError as flock does.
    """
    while True:
        file = FileIO(_opened(path, os.O_RDWR | os.O_CREAT), "r+")
        try:
            fcntl.flock(file, operation)
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _write_all(file: int, data: bytes | memoryview) -> None:
    """os.write may write less than it was given: a full disk says so at the next call only."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _opened(path: str, flags: int) -> int:
    """The file itself, never what a link leads to; nobody else may read what is made."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _is_at(path: str, file: FileIO) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
