"""Memory that a process shares with the child that decodes for it: a file in memory.

What most pictures need is kept for the next one, since new pages cost more than the decoder: 12 MB
of them 18 ms of CPU, and known ones 6. It holds zeros when the next child gets it.
"""

import contextlib
import fcntl
import mmap
import os
import tempfile
import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Memory = NDArray[np.uint8]
"""Bytes that this process and the child share."""

MOST_KEPT = 24 * 2**20
"""Bytes of a file that is kept. A process keeps one."""
_STEP = 2**20


@dataclass(frozen=True)
class Lent:
    """A file for one child."""

    file: int
    size: int
    """Bytes that this child may use."""
    kept: mmap.mmap | None
    """The file in this process, if it may be lent again."""
    owner: int
    """The process that has it."""

    def put(self, data: bytes, at: int) -> None:
        """Write the data behind the first `at` bytes."""
        if self.kept is not None:
            self.kept[at : at + len(data)] = data
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(self.file, view, at)
            at, view = at + written, view[written:]

    def memory(self, length: int, *, is_final: bool) -> Memory:
        """What the child has written to the first `length` bytes. This is the last call.

        `is_final`: the child has ended, so nothing changes any more. Then the file can be lent
        again once nobody uses the array, or a part of it, any longer.
        """
        if self.kept is None or not is_final:
            mapped = mmap.mmap(self.file, self.size)
            self.close()
            return np.frombuffer(mapped, np.uint8)[:length]
        whole = np.frombuffer(self.kept, np.uint8)
        weakref.finalize(whole, _take_back, self).atexit = False
        return whole[:length]

    def close(self) -> None:
        """Give the file up; arrays of it stay valid."""
        os.close(self.file)
        if self.kept is not None:
            with contextlib.suppress(BufferError):  # the array that is just going holds it
                self.kept.close()


_spare: list[Lent] = []
"""At most one."""


def lend(size: int) -> Lent:
    """A file of at least so many bytes, all of them 0."""
    if size > MOST_KEPT or not hasattr(os, "memfd_create"):
        return Lent(_new_file(size), size, None, os.getpid())
    with contextlib.suppress(IndexError):  # another thread has it, or nobody had one yet
        spare = _spare.pop()
        assert spare.kept is not None
        if len(spare.kept) >= size:
            return Lent(spare.file, size, spare.kept, spare.owner)
        spare.close()
    room = -(-size // _STEP) * _STEP
    file = _new_file(room)
    return Lent(file, size, mmap.mmap(file, room), os.getpid())


def _take_back(lent: Lent) -> None:
    if lent.owner != os.getpid():  # this process was forked with an array of its parent's
        return
    np.frombuffer(lent.kept or b"", np.uint8)[: lent.size] = 0
    if _spare:
        lent.close()
    else:
        _spare.append(lent)


def _new_file(size: int) -> int:
    """A file in memory of a fixed size."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
        os.ftruncate(file, size)
        return file
    file = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    # Truncating a file that we have mapped would end this process.
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


def _forget() -> None:
    """In a process that was just forked: what its parent keeps is not shared with it."""
    for lent in _spare:
        lent.close()
    _spare.clear()


os.register_at_fork(after_in_child=_forget)
