"""Weights: downloaded once, checked, converted, and kept on this disk and in S3.

The built-in models have theirs out of packages, which installations reach anyway, also through a
mirror; a model of your own names a URL or a file on a hub instead.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import structlog

from storage import object_keys
from storage.errors import StorageDown
from tasks.errors import ModelFailure, Unavailable
from tasks.models import downloads, engines, npm, registry, wheels
from tasks.models.base import Model, Weight
from tasks.models.engines import Engine
from tasks.models.wheels import Progress
from tasks.settings import settings

log = structlog.get_logger()


class ObjectStore(Protocol):
    """What is needed of S3. A missing key is FileNotFoundError, a silent store StorageDown."""

    def get(self, key: str) -> bytes:
        """The bytes."""

    def put(self, key: str, data: bytes, content_type: str) -> object:
        """Store the bytes."""


def fetch(
    weight: Weight,
    folder: Path,
    store: ObjectStore | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Path:
    """The safetensors file of `weight`: of the image, else from `folder`, `store` or its source.

    It is then stored in `folder` and `store`. Raises ModelFailure when a file is not the one that
    the model names, Unavailable when it cannot be downloaded now.
    """
    if weight.is_own:
        return _own(weight)
    places = [place for place in (settings().image_weights_dir, folder) if place]
    for file in [place / _name(weight) for place in places]:
        if _is_sound(weight, file):
            if store:
                _share(weight, file, store)
            return file
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(file.with_suffix(".lock")):
        # Another process may have fetched it while this one waited for the lock.
        if not _is_sound(weight, file):
            _fetch(weight, file, store, download, progress or (lambda what, done, total: None))
    return file


def fetch_model(
    model: Model, store: ObjectStore | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Name -> safetensors file of all of a model's weights, as the settings say.

    For a model with profiles, pass `registry.variant`, which has the weights of one profile.
    """
    folder, download = settings().weights_path, settings().download_weights
    return {
        profile: fetch(weight, folder, store, download, progress)
        for profile, weight in model.weights.items()
    }


def digest(model: Model, engine: Engine = "torch") -> str:
    """`sha256:...` of the weights that a model names for an engine; needs none of the files."""
    lines = [
        f"{profile} {_name(weight)} {weight.sha256}"
        for profile, weight in sorted(engines.weights(model, engine).items())
    ]
    return "sha256:" + hashlib.sha256("\n".join(lines or ["none"]).encode()).hexdigest()


def _own(weight: Weight) -> Path:
    """A file that comes with the code."""
    file = registry.FOLDER / weight.member
    if not file.is_file() or _sha256(file.read_bytes()) != weight.sha256:
        raise ModelFailure(
            f"the weights {file} are missing, or not those that the model names",
            hint="They come with the model: install Pixelmill again, or copy the file again.",
        )
    return file


def _name(weight: Weight) -> str:
    return f"{Path(weight.member).stem}-{weight.sha256[:12]}-{weight.layout}.safetensors"


def _key(weight: Weight, file: Path) -> str:
    return object_keys.weights_object(weight.sha256, file.name)


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".json")


def _is_sound(weight: Weight, file: Path) -> bool:
    """Whether the file is there and unchanged."""
    try:
        return _fits(weight, file.read_bytes(), _sidecar(file).read_bytes())
    except FileNotFoundError:
        return False


def _fits(weight: Weight, data: bytes, manifest: bytes) -> bool:
    """Whether these bytes are those that the model names.

    The manifest beside them counts only where a model names no digest. It detects damage at most,
    since whoever replaces the file can replace the manifest as well.
    """
    if weight.stored_sha256:
        return _sha256(data) == weight.stored_sha256
    try:
        return bool(json.loads(manifest)["sha256"] == _sha256(data))
    except (ValueError, KeyError, TypeError):  # the manifest itself is damaged
        return False


def _fetch(
    weight: Weight, file: Path, store: ObjectStore | None, download: bool, report: Progress
) -> None:
    if file.exists():
        log.warning("weights are not those that the model names; fetched again", file=str(file))
    if store and _from_store(weight, file, store, report):
        return
    _download(weight, file, download, report)
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
            "weights in S3 are not those that the model names; not used", key=_key(weight, file)
        )
        return False
    _keep(file, data, manifest)
    report(file.stem, len(data), len(data))
    return True


def _share(weight: Weight, file: Path, store: ObjectStore) -> None:
    """Upload what S3 lacks, so that workers that may not download find it there."""
    try:
        manifest = store.get(_key(weight, _sidecar(file)))
        if manifest != _sidecar(file).read_bytes():  # of a file that would not be used
            _upload(weight, file, store)
    except FileNotFoundError:
        _upload(weight, file, store)
    except StorageDown as error:
        log.warning("weights not looked up in S3", file=file.name, error=str(error))


def _upload(weight: Weight, file: Path, store: ObjectStore) -> None:
    manifest = _sidecar(file)
    try:
        store.put(_key(weight, file), file.read_bytes(), "application/octet-stream")
        # Last, so that whoever finds the manifest finds the file.
        store.put(_key(weight, manifest), manifest.read_bytes(), "application/json")
    except StorageDown as error:  # this worker has them; its next start tries again
        log.warning("weights not written to S3", file=file.name, error=str(error))


def _download(weight: Weight, file: Path, may_download: bool, report: Progress) -> None:
    if not may_download:
        raise Unavailable(
            f"the weights {file.name} are neither in {file.parent} nor in S3 under "
            f"{object_keys.WEIGHTS}, and PIXELMILL_DOWNLOAD_WEIGHTS=false forbids to download "
            f"{weight.source}",
            hint="Run `pixelmill weights` once on a machine that may download them.",
        )
    data = _checked(weight, _converted(weight, _original(weight, file, report)))
    _keep(file, data, json.dumps(_manifest(weight, data), indent=1).encode())
    log.info("weights downloaded", file=str(file), source=weight.source)


def _original(weight: Weight, file: Path, report: Progress) -> bytes:
    """The file as its author publishes it; its SHA-256 is checked."""
    part = file.with_suffix(".part")
    if weight.npm:
        return npm.read(weight, part, report)
    if not weight.package:
        return downloads.read(weight, part, report)
    with _scratch(file) as scratch:
        return wheels.read(weight, scratch, report)


def _manifest(weight: Weight, data: bytes) -> dict[str, str | int]:
    """What is written beside the stored file `data`."""
    return {
        "sha256": _sha256(data),
        "bytes": len(data),
        "package": weight.package or weight.npm,
        "url": weight.url,
        "hub": weight.hub,
        "version": weight.version,
        "member": weight.member,
        "original_sha256": weight.sha256,
        "licence": weight.licence,
    }


def _converted(weight: Weight, original: bytes) -> bytes:
    """The state dict as safetensors bytes."""
    from safetensors.torch import load, save  # here: it imports torch

    try:
        if weight.convert is None:
            load(original)  # raises what is no safetensors file
            return original
        state: Mapping[str, Any] = weight.convert(original)
        data: bytes = save({name: tensor.contiguous() for name, tensor in state.items()})
    except Exception as error:  # a plug-in's converter may raise anything
        raise ModelFailure(
            f"{weight.source} cannot be converted: {type(error).__name__}: {error}"
        ) from error
    return data


def _checked(weight: Weight, data: bytes) -> bytes:
    """The converted file, if it is the one that the model names."""
    actual = _sha256(data)
    if not weight.stored_sha256:
        log.warning(
            "weights without converted_sha256: a later replacement of the file is not noticed",
            member=weight.member,
            converted_sha256=actual,
        )
    elif actual != weight.stored_sha256:
        raise ModelFailure(
            f"{weight.source} was converted to other weights than expected: sha256 {actual} "
            f"instead of {weight.stored_sha256}",
            hint="Whoever changes `convert` or its libraries has to change converted_sha256 too.",
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
    """A folder beside `file` that is removed afterwards; leftovers of a killed fetch go first."""
    folder = file.with_suffix(".fetch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Between processes: the second one waits, and finds the work done."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
