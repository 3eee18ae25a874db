"""Finds model files by name and imports them, each on its own and without torch."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_args

from tasks import extras
from tasks.errors import ModelFailure, Unavailable
from tasks.message import PROBE
from tasks.models.base import RESERVED, Kind, Model
from tasks.settings import settings

FOLDER = Path(__file__).resolve().parent
NOT_MODELS = frozenset(
    {
        "base",
        "contract",
        "cutouts",
        "downloads",
        "engines",
        "npm",
        "previews",
        "probe",
        "registry",
        "weights",
        "wheels",
    }
)
"""Files of this folder that are not models, or not offered to users."""


def names(paths: str | None = None) -> tuple[str, ...]:
    """All models, built in or in the colon-separated folders `paths`, sorted.

    Without `paths`, the folders are those of the settings. Raises ModelFailure for a missing
    folder, and for a file name that is not a model name or is taken.
    """
    return tuple(sorted(_files(settings().model_paths if paths is None else paths)))


def get(name: str) -> Model:
    """The model called `name`; imports only its file.

    Raises LookupError if there is none, ModelFailure if its file is broken.
    """
    if name.startswith(PROBE):
        return _load("probe", FOLDER / "probe.py")
    return _load(name, _file(name))


def variant(name: str) -> Model:
    """A model as a device loads it: `matting` in its first profile, `matting:quality` in another
    one.

    It has the bins and the weights of its profile and those that come with it, and its `fallback`
    is the next lighter profile. Raises LookupError if there is no such model or profile.
    """
    base, _, profile = name.partition(":")
    model = get(base)
    if not profile and not model.profiles:
        return model
    profile = profile or model.profiles[0]
    if profile not in model.profiles:
        known = ", ".join(model.profiles) or "none"
        raise LookupError(f"no profile {profile!r} of the model {base!r}; there are: {known}")
    lighter = model.profiles[: model.profiles.index(profile)]
    fallback = variant_name(base, model, lighter[-1]) if lighter else model.fallback
    loaded = {name: model.weights[name] for name in (profile, *model.also.get(profile, ()))}
    bins = model.profile_bins.get(profile, model.bins)
    return replace(model, weights=loaded, fallback=fallback, bins=bins)


def variant_name(name: str, model: Model, profile: str) -> str:
    """`matting` for the first profile or a model without profiles, else e.g. `matting:quality`."""
    return name if profile in ("", *model.profiles[:1]) else f"{name}:{profile}"


def variants(name: str, more: Sequence[str]) -> list[str]:
    """The variants of a model that a worker loads: the first, and those of it that `more` names."""
    return [name, *dict.fromkeys(other for other in more if other.partition(":")[0] == name)]


def code_digest(name: str) -> str:
    """`sha256:...` of the code that makes a model's result: its file and what it may import of
    ours."""
    return _code_digest(_file(name))


def code_on_disk() -> dict[str, str]:
    """Model -> such a digest of each, read now: of a process that does not import them itself."""
    return {name: _code_digest.__wrapped__(_file(name)) for name in names()}


def has_changed(name: str) -> bool:
    """Whether that code is another one on the disk by now; reads all of it again."""
    file = _file(name)
    return bool(_code_digest.__wrapped__(file) != _code_digest(file))


def _file(name: str) -> Path:
    files = _files(settings().model_paths)
    if name not in files:
        raise LookupError(f"no model {name!r}; there are: {', '.join(sorted(files))}")
    return files[name]


@cache  # called by every stage of every run
def _files(paths: str) -> Mapping[str, Path]:
    files = {file.stem: file for file in _python_files(FOLDER) if file.stem not in NOT_MODELS}
    folders = [Path(folder) for folder in paths.split(":") if folder]
    for folder in (folder for folder in folders if folder.resolve() != FOLDER):
        for file in _python_files(folder):
            _check_name(file, files)
            files[file.stem] = file
    return files


def _python_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ModelFailure(
            f"the model folder {folder} does not exist",
            hint="PIXELMILL_MODEL_PATHS names folders with model files, separated by colons.",
        )
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))


def _check_name(file: Path, taken: dict[str, Path]) -> None:
    if not file.stem.isidentifier() or file.stem != file.stem.lower():
        raise ModelFailure(
            f"{file}: {file.stem!r} cannot be the name of a model; "
            "expected lower-case letters, digits and underscores, for example my_model.py"
        )
    if file.stem in taken or file.stem in NOT_MODELS:
        other = taken.get(file.stem, FOLDER / file.name)
        raise ModelFailure(
            f"two model files are called {file.stem!r}: {other} and {file}",
            hint="A model's name is its file's name: rename one of them.",
        )


@cache
def _load(name: str, file: Path) -> Model:
    try:
        with extras.explained():
            module = _import(name, file)
    except Unavailable:  # nothing is wrong with the file
        raise
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        raise ModelFailure(
            f"the model file {file} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise ModelFailure(f"{file} defines no MODEL; expected MODEL = Model(...)")
    if model.kind not in get_args(Kind):
        raise ModelFailure(
            f"{file}: no kind {model.kind!r}; there are: {', '.join(get_args(Kind))}"
        )
    if taken := RESERVED & set(model.params.model_fields):
        raise ModelFailure(
            f"{file}: a parameter cannot be called {', '.join(sorted(taken))}; "
            "every request has a field of that name"
        )
    _check_profiles(model, file)
    return model


def _check_profiles(model: Model, file: Path) -> None:
    if not model.profiles:
        return
    field = model.params.model_fields.get("profile")
    if (
        field is None
        or field.default != model.profiles[0]
        or set(model.profiles) - {*model.weights}
    ):
        raise ModelFailure(
            f"{file}: the profiles {', '.join(model.profiles)} need weights of these names and a "
            f"parameter `profile` with the default {model.profiles[0]!r}"
        )


def _import(name: str, file: Path) -> ModuleType:
    if file.parent == FOLDER:
        return importlib.import_module(f"tasks.models.{name}")
    spec = importlib.util.spec_from_file_location(f"pixelmill_model_{name}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic and dataclasses look modules up there
    spec.loader.exec_module(module)
    return module


@cache
def _code_digest(file: Path) -> str:
    shared = [FOLDER / "base.py", *_python_files(FOLDER / "nets")]
    digest = hashlib.sha256()
    for path in [file, *shared, *_python_files(FOLDER.parent / "imaging")]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"sha256:{digest.hexdigest()}"
