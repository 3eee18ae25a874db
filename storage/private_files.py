"""Files of ours alone in a folder that is everybody's, as /dev/shm is."""

import errno
import fcntl
import os
from io import FileIO

_MODES = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "r+"}


def new_file(path: str) -> FileIO:
    """A file that is ours alone: /dev/shm is everybody's.

    What lies there by that name goes first: an earlier try's, or somebody else's file or link,
    which must be neither written to nor kept.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return open_file(path, flags)
    except FileExistsError:
        os.unlink(path)
        return open_file(path, flags)


def own_file(path: str) -> FileIO:
    """The file of that name to read; FileNotFoundError if it is not one that we have written."""
    try:
        file = open_file(path, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link
            raise
        raise FileNotFoundError(path) from error
    if os.fstat(file.fileno()).st_uid != os.geteuid():
        file.close()
        raise FileNotFoundError(path)
    return file


def locked_file(path: str, operation: int) -> FileIO:
    """The lock file of that name, locked by this operation of flock until it is closed.

    Its holder may remove it. Whoever opened it just before would then hold a lock that nobody else
    sees, and opens the next one instead. Raises BlockingIOError as flock does.
    """
    while True:
        file = open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, operation)
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def open_file(path: str, flags: int) -> FileIO:
    """The file itself, never what a link leads to; nobody else may read what is made."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return FileIO(file, _MODES[flags & (os.O_WRONLY | os.O_RDWR)])


def write_all(file: int, data: bytes | memoryview) -> None:
    """os.write may write less than it was given: a full disk says so at the next call only."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _is_at(path: str, file: FileIO) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
