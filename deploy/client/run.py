"""`pixelmill run`: sends photos to a running server, several at a time, and writes the results."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.client import display, files
from deploy.client.api import Client, Model, RunOptions, Server
from deploy.client.display import Display
from tasks.errors import BadInput, JobError, Unavailable


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    file: Path
    cached: bool = False
    """Whether the server knew the result already."""
    bytes: int = 0
    """Size of what was written."""
    error: str = ""
    """Why it failed; empty if it did not."""


def main(paths: Sequence[Path], out: Path, options: RunOptions, server: Server, jobs: int) -> int:
    """Send all photos, write their results below `out`; returns 1 if a photo failed, else 0.

    `jobs`: how many photos are in progress at a time.
    """
    began = time.monotonic()
    with Client(server) as client:
        _check_model(client.models(), options.model)
        targets = {file: out / target for file, target in files.find(paths, out).items()}
        with display.progress(len(targets)) as bars:
            outcomes = list(_run_all(client, targets, options, jobs, bars))
    for outcome in sorted(outcomes, key=lambda outcome: outcome.file):
        if outcome.error:
            display.print_error(outcome.file, outcome.error)
    failed = sum(bool(outcome.error) for outcome in outcomes)
    cached = sum(outcome.cached for outcome in outcomes)
    mb, seconds = sum(outcome.bytes for outcome in outcomes) / 1e6, time.monotonic() - began
    counts = f"{len(outcomes) - failed} done, {cached} of them cached, {failed} failed"
    print(f"{counts}; {seconds:.1f} s, {mb:.1f} MB in {out}")
    return 1 if failed else 0


def _run_all(
    client: Client, targets: Mapping[Path, Path], options: RunOptions, jobs: int, bars: Display
) -> Iterator[Outcome]:
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="file")
    try:
        futures = [
            pool.submit(_run_one, client, file, target, options, bars)
            for file, target in targets.items()
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:  # Ctrl-C: files that wait are dropped, those in progress stop at their next pause
        client.stopping.set()
        pool.shutdown(cancel_futures=True)


def _run_one(
    client: Client, file: Path, target: Path, options: RunOptions, bars: Display
) -> Outcome:
    """Send one file, write its results. A failure is an outcome, not an exception."""
    with bars.file(file.name) as show:
        try:
            job = client.predict(file, options)
            job = client.follow(job, lambda job: show(job["progress"], display.stage_of(job)))
            if job["state"] != "done":
                error = job["error"] or {"message": f"the job was {job['state']}"}
                return Outcome(file, error=_sentence(error["message"], error.get("hint")))
            show(1, "saving")
            return Outcome(file, job["cached"], files.save(job, target, client.fetch))
        except JobError as error:
            return Outcome(file, error=_sentence(str(error), error.hint))
        except (httpx.HTTPError, OSError) as error:
            return Outcome(file, error=str(error) or type(error).__name__)


def _check_model(models: Sequence[Model], name: str) -> None:
    """Refuse at once what would fail for every file."""
    live = {model["name"]: model["live"] for model in models}
    if name not in live:
        known = ", ".join(live) or "none yet, as no worker has announced any"
        raise BadInput(f"no model {name!r}; there are: {known}")
    if not live[name]:
        raise Unavailable(f"no worker serves {name!r} at present", hint="See `pixelmill doctor`.")


def _sentence(message: str, hint: str | None) -> str:
    return f"{message} ({hint})" if hint else message
