"""Small file systems that can be full, for tests: a tmpfs where one may be mounted."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 2**20


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A folder on a file system of so many MiB; skips the test where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="pixelmill-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    try:
        if why:
            pytest.skip(f"no small file system can be mounted here: {why}")
        yield folder
    finally:
        if not why:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path, leave_mib: float = 0) -> Path:
    """Take all room on the disk but so much; the file that does."""
    filler = folder / "filler"
    with open(filler, "ab", buffering=0) as file:
        if leave_mib:
            import shutil

            left = shutil.disk_usage(folder).free - int(leave_mib * MIB)
            while left > 0:
                left -= file.write(bytes(min(left, MIB)))
            return filler
        for size in (MIB, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler
