"""Checks of this host: versions, settings, GPUs, free disk and shared memory."""

import os
import platform
import shutil
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploy.doctor.finding import GIB, Finding, Level
from deploy.settings_error import EXAMPLE_FILE
from tasks.settings import MIB, Settings
from web.jobs.room import disks
from workers.pinning import gpus

PACKAGES = ("pixelmill", "celery", "redis", "gradio")
EXTRAS = ("opencv-python-headless", "mnn", "openvino", "torch")
"""Of some processes only: not in the image of the web processes."""
CLIENT_NAMES = frozenset({"PIXELMILL_URL", "PIXELMILL_API_KEY"})
"""Read by the commands `run` and `models`: they are no settings of the server."""


def versions(settings: Settings) -> Iterable[Finding]:
    """Which versions are installed; imports none of the packages."""
    installed, missing = [f"python {platform.python_version()}"], []
    for package in PACKAGES:
        try:
            installed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    for package in EXTRAS:
        with suppress(PackageNotFoundError):
            installed.append(f"{package} {version(package)}")
    yield Finding("ok", "versions", ", ".join(installed))
    if missing:
        yield Finding("fail", "missing packages", ", ".join(missing), "Install Pixelmill again.")


def sources(settings: Settings) -> Iterable[Finding]:
    """Where settings come from, variables that no setting has, and the secret."""
    given = {name for name in os.environ if name.startswith("PIXELMILL_")}
    files = [name for name in (".env", "var/env") if Path(name).is_file()]
    places = (
        [f"{len(given)} {'variable' if len(given) == 1 else 'variables'} of the environment"]
        if given
        else []
    )
    value = f"from {', '.join(places + files)}" if places or files else "all are the defaults"
    known = {f"PIXELMILL_{name.upper()}" for name in Settings.model_fields} | CLIENT_NAMES
    if unknown := sorted(given - known):
        hint = f"There is no setting {', '.join(unknown)}; {EXAMPLE_FILE} lists all."
        yield Finding("warn", "settings", value, hint)
    else:
        yield Finding("ok", "settings", value)
    if len(settings.secret) < 16:
        value = f"{len(settings.secret)} characters; expected 16 or more"
        hint = "Set PIXELMILL_SECRET to the same value on all hosts; `pixelmill up` makes one."
        yield Finding("warn", "secret", value, hint)


def device(settings: Settings) -> Iterable[Finding]:
    """The GPUs, as NVIDIA's own library sees them, and whether torch can use them."""
    cards = gpus()
    if not cards and settings.device == "cuda":
        value = "PIXELMILL_DEVICE=cuda, but no NVIDIA GPU found"
        hint = "Install NVIDIA's driver, pass the GPU into the container, or PIXELMILL_DEVICE=auto."
        yield Finding("fail", "device", value, hint)
    elif not cards:
        yield Finding("ok", "device", "no NVIDIA GPU found; models run on the CPU")
    for card in cards:
        used, free, total = (part / GIB for part in (card.used, card.free, card.total))
        memory = f"{used:.1f} GiB used, {free:.1f} GiB free of {total:.1f} GiB"
        yield Finding("ok", f"GPU {card.number}", f"{card.name}, {memory}")
    if cards and settings.device == "cpu":
        yield Finding("ok", "device", "PIXELMILL_DEVICE=cpu: the GPU is not used")
    elif cards and _torch().endswith("+cpu"):
        level: Level = "fail" if settings.device == "cuda" else "warn"
        value = "a build for CPUs, which does not use the GPU of this host"
        yield Finding(level, "torch", value, "Install a CUDA build of torch.")


def _torch() -> str:
    """The version of torch; empty where it is not installed, as on a host without gpu workers."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def disk(settings: Settings) -> Iterable[Finding]:
    """Free space for data, weights and logs."""
    folder = settings.var_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    hint = (
        "Free some space, or set PIXELMILL_VAR_DIR to a folder on another disk. New work is "
        f"refused below {settings.min_free_mib:g} MiB (PIXELMILL_MIN_FREE_MIB)."
    )
    floor = int(settings.min_free_mib * MIB)
    for disk in disks(folder):
        what = "disk" if disk == folder else f"disk of {disk.name}"
        yield _room(what, disk, warn=5 * GIB, fail=max(floor, GIB // 2), hint=hint)


def shared_memory(settings: Settings) -> Iterable[Finding]:
    """Room for the arrays that one stage of a job hands to the next."""
    if settings.scratch_url:
        return
    folder = settings.scratch_dir
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        hint = "Set PIXELMILL_SCRATCH_DIR to a folder that can be written to, in memory if possible"
        yield Finding("fail", "scratch folder", f"{folder} cannot be written to", f"{hint}.")
        return
    hint = "Enlarge it (docker: --shm-size=1g), or set PIXELMILL_SCRATCH_DIR to another folder."
    yield _room("scratch folder", folder, warn=256 * MIB, fail=16 * MIB, hint=hint)


def _room(what: str, folder: Path, *, warn: int, fail: int, hint: str) -> Finding:
    free = shutil.disk_usage(folder).free
    level: Level = "fail" if free < fail else "warn" if free < warn else "ok"
    value = f"{free / GIB:.1f} GiB free in {folder}"
    return Finding(level, what, value, "" if level == "ok" else hint)
