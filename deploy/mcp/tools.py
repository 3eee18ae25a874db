"""What the tools do: ask a running server, and write its pictures to a folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from deploy.client import results
from deploy.client.answers import Job, Model
from deploy.client.api import Client, RunOptions
from deploy.client.choice import with_upload
from deploy.mcp import photos
from tasks.errors import BadInput, JobError

MAX_PREVIEW_BYTES = 1_000_000
"""Larger pictures are not shown to a language model: its context would be full of them."""

Report = Callable[[float, str], None]
"""Told how far a job is, from 0 to 1, and what it is doing."""


@dataclass(frozen=True)
class Done:
    """What a run has made."""

    answer: Mapping[str, Any]
    preview: bytes = b""
    """A small picture to look at; empty if there is none."""
    preview_type: str = ""


def list_models(client: Client) -> list[dict[str, Any]]:
    """Each model's name, what it makes, and the JSON schema of its parameters."""
    return [_described(model) for model in client.models()]


def run_model(
    client: Client, folder: Path, image: str, options: RunOptions, report: Report
) -> Done:
    """Run a model on a photo; its pictures are written below `folder`. Raises JobError."""
    model = _known(client.models(), options.model)
    output = options.output or ("cutout,preview" if model["kind"] == "matte" else "")
    asked = with_upload(replace(options, output=output), partial(_uploaded, client))
    with photos.photo(image) as file:
        job = client.predict(file, asked)
    try:
        job = client.follow(job, lambda job: report(job["progress"], job["stage"] or job["state"]))
    except BaseException:
        client.cancel(job)
        raise
    if job["state"] != "done":
        error = job["error"] or {"message": f"the job was {job['state']}"}
        raise JobError(error["message"], hint=error.get("hint"))
    return _saved(client, folder / photos.stem(image), asked.model, job)


def _uploaded(client: Client, background: Path, media_type: str) -> str:
    """The id of an upload of a background, which must be a picture like the photo itself."""
    with photos.photo(str(background)) as file:
        return client.upload(file, media_type)


def _saved(client: Client, target: Path, model: str, job: Job) -> Done:
    files: dict[str, str] = {}
    preview, preview_type = b"", ""
    target = _free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for name, picture in job["result"]["objects"].items():
        file = target.with_name(f"{target.name}.{_checked(name)}{results.ending(picture['type'])}")
        client.download(picture["url"], file)
        files[name] = str(file.resolve())
        if name == "preview" and file.stat().st_size <= MAX_PREVIEW_BYTES:
            preview, preview_type = file.read_bytes(), picture["type"]
    result = job["result"]
    answer = {
        "job": job["id"],
        "model": model,
        "files": files,
        "width": result["width"],
        "height": result["height"],
        "data": result["data"],
        "notes": [note["message"] for note in result.get("notes", [])],
    }
    return Done(answer, preview, preview_type)


def _described(model: Model) -> dict[str, Any]:
    return {
        "name": model["name"],
        "title": model["title"],
        "makes": model["kind"],
        "is_served_now": model["live"],
        "parameters": model["params"].get("properties", {}),
    }


def _known(models: list[Model], name: str) -> Model:
    """Raises BadInput for a model that the server does not have."""
    for model in models:
        if model["name"] == name:
            return model
    names = ", ".join(model["name"] for model in models) or "none yet"
    raise BadInput(f"no model {name!r}; there are: {names}")


def _free(target: Path) -> Path:
    """The path, or with a number if there are files of that name: nothing is overwritten."""
    number, path = 1, target
    while list(target.parent.glob(f"{path.name}.*")):
        number += 1
        path = target.with_name(f"{target.name}-{number}")
    return path


def _checked(name: str) -> str:
    """A picture's name, which becomes part of a path. Raises BadInput for an odd one."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise BadInput(f"the server sent a picture with the unexpected name {name!r}")
    return name
