"""Sends one photo to the server, and writes its result."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from deploy.client import outcome, results, sources
from deploy.client.answers import Failure, Job
from deploy.client.api import Client, RunOptions, Stopped
from deploy.client.destination import Destination
from deploy.client.outcome import Outcome
from deploy.client.parameters import BACKGROUND, background_file
from deploy.client.photos import Photo
from deploy.client.results import Asked, Saved
from deploy.client.sources import Sources
from tasks.errors import JobError

CERTAIN_ENDINGS = frozenset(
    (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".apng", ".webp", ".avif")
)
"""What every server takes: such a file that is refused is no photo, and its user wants to know."""

Show = Callable[[Job], None]


@dataclass(frozen=True)
class Sender:
    """Sends photos and writes their results. For several threads."""

    client: Client
    sources: Sources
    options: RunOptions
    asked_params: dict[str, str]
    """The parameters as they are remembered: a background by the hash of its file."""
    destination: Destination
    again: bool
    """Whether photos are sent whose results are there already."""

    def send(self, photo: Photo, show: Show) -> Outcome:
        """Send a photo, unless its result is there. A failure is an outcome, not an exception."""
        began = time.monotonic()
        try:
            with self.sources.file(photo) as file:
                asked = self._asked(file)
                known = self._known(photo, asked)
                done = known or self._computed(photo, file, asked, show)
        except (JobError, httpx.HTTPError, OSError) as error:
            done = _failed(photo, outcome.failure(error), isinstance(error, Stopped))
        return replace(done, seconds=time.monotonic() - began)

    def plan(self, photo: Photo, show: Show) -> Outcome:
        """What `send` would do; nothing is sent, downloaded or read from standard input."""
        if photo.file is None and photo.series is None:
            return Outcome(photo, "planned")
        try:
            with self.sources.file(photo) as file:
                asked, size = self._asked(file), file.stat().st_size
            return self._known(photo, asked) or Outcome(photo, "planned", asked.sha256, bytes=size)
        except (JobError, OSError) as error:
            return _failed(photo, outcome.failure(error))

    def _asked(self, file: Path) -> Asked:
        options = self.options
        return Asked(sources.sha256(file), options.model, self.asked_params, options.output)

    def _known(self, photo: Photo, asked: Asked) -> Outcome | None:
        """The result of an earlier run. Raises BadInput if somebody else's file is in its place."""
        if not self.destination.folder:
            return None
        saved = results.earlier(self.destination.folder / photo.target, asked)
        if not saved or self.again:
            return None
        return Outcome(photo, "there", asked.sha256, saved.job, saved.files)

    def _computed(self, photo: Photo, file: Path, asked: Asked, show: Show) -> Outcome:
        job = self.client.predict(file, self.options)
        try:
            job = self.client.follow(job, show)
        except Stopped:
            # Even if the server does not answer, the photo counts as cancelled: nobody waits.
            self.client.cancel(job)
            return Outcome(photo, "cancelled", asked.sha256, job)
        if job["state"] != "done":
            error = job["error"] or {"message": f"the job was {job['state']}"}
            return replace(_failed(photo, error), sha256=asked.sha256, job=job)
        show({**job, "progress": 1, "stage": "saving"})
        saved = self._saved(job, photo, asked)
        return Outcome(photo, "done", asked.sha256, job, saved.files, saved.bytes)

    def _saved(self, job: Job, photo: Photo, asked: Asked) -> Saved:
        to, download = self.destination, self.client.download
        if to.folder:
            return results.save(job, to.folder / photo.target, asked, photo.name, download)
        if to.file:
            return results.save_as(job, to.file, self.options.output, download)
        picture = job["result"]["objects"][results.main_picture(job, self.options.output)]
        return Saved(job, {}, self.sources.pass_on(picture["url"], download, sys.stdout.buffer))


def remembered(params: dict[str, str]) -> dict[str, str]:
    """Parameters as they are remembered: a background by the hash of its file."""
    file = background_file(params.get(BACKGROUND, ""))
    return {**params, BACKGROUND: f"sha256:{sources.sha256(file)}"} if file else params


def _failed(photo: Photo, error: Failure, stopped: bool = False) -> Outcome:
    if stopped:
        return Outcome(photo, "cancelled")
    ending = photo.file.suffix.lower() if photo.file else ""
    is_format = error.get("code") == "unsupported_type" and not photo.is_named
    status = "not_accepted" if is_format and ending not in CERTAIN_ENDINGS else "failed"
    return Outcome(photo, status, error=error)  # type: ignore[arg-type]  # one of the two
