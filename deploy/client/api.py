"""The API of a running server, as the commands use it."""

import mimetypes
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urljoin

import httpx

from deploy.client.answers import Job, Model, SignedUpload
from deploy.client.server import Server
from storage.states import ENDED, Priority
from tasks.errors import BadInput, JobError, Unavailable
from tasks.imaging.volumes import kinds

BUSY = frozenset({429, 502, 503, 504})
"""Statuses after which a request is sent again."""
ELSEWHERE = frozenset({301, 302, 307, 308, 404, 405, 501})
"""Statuses of a server that has no list of models at the address."""
TRIES = 8
"""A minute in all, if nobody answers: on a busy host `pixelmill up` took 41 s to stop and start."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between tries; each pause is twice the one before, unless the server names another."""
FIRST_POLL_S, LONGEST_POLL_S = 0.2, 1.0
"""Between two questions for a job."""
WAIT_S = 1.0
"""How long the server may wait for a job's end before it answers the photo."""
CANCEL_S = 5.0
"""How long the server may take to answer that a job is to be cancelled."""
STALL_S = 600.0
"""A job that has not changed for so long is given up."""


@dataclass(frozen=True)
class RunOptions:
    """What is asked for of every photo."""

    model: str
    params: Mapping[str, str]
    output: str = ""
    """Comma-separated names of the pictures to make; empty for those of the model."""
    priority: Priority = "interactive"
    lighter: bool = True
    """Whether something lighter may compute it while many people wait."""
    are_volumes: bool = False
    """Whether the model takes volumes, which are larger than the body of a request may be."""


class Stopped(JobError):
    """The user has pressed Ctrl-C."""


class Client:
    """The API of one server, for several threads. Waits while the server is busy or restarts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopping = threading.Event()
        """Once it is set, every call that would wait raises Stopped."""
        key = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        timeout = httpx.Timeout(60, connect=5)
        limits = httpx.Limits(max_connections=None)
        proxied = not server.is_local
        self._api = httpx.Client(headers=key, timeout=timeout, limits=limits, trust_env=proxied)
        # Without the key: S3 refuses signed addresses that come with one.
        self._objects = httpx.Client(timeout=timeout, limits=limits, trust_env=proxied)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._api.close()
        self._objects.close()

    def models(self, timeout_s: float = 60) -> list[Model]:
        """The models of the server. Unavailable if it does not answer at the first try."""
        try:
            answer = self._api.get(f"{self.server.url}/api/v1/models", timeout=timeout_s)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no server answers at {self.server.url}: {error}",
                hint="Start a server with `pixelmill up`, or name another with --url.",
            ) from error
        if answer.status_code in ELSEWHERE:
            raise _no_pixelmill(self.server.url)
        models: list[Model] | None = _body(answer).get("models")
        if models is None:
            raise _no_pixelmill(self.server.url)
        return models

    def predict(self, file: Path, options: RunOptions) -> Job:
        """Send a file; returns its job, which may not have ended yet."""
        if options.are_volumes:
            return self._submit(file, options)
        query = {**options.params, "wait": str(WAIT_S), "priority": options.priority}
        query |= {"output": options.output} if options.output else {}
        query |= {} if options.lighter else {"lighter": "false"}
        url = f"{self.server.url}/api/v1/predict/{options.model}"

        def send() -> httpx.Response:
            with file.open("rb") as body:  # opened for each try, as a try reads it to the end
                return self._api.post(url, params=query, content=body)

        return _job(self._retry(send))

    def _submit(self, file: Path, options: RunOptions) -> Job:
        """The job of a file that is sent to its own address first."""
        with file.open("rb") as start:
            known = kinds.media_type(start.read(kinds.START_BYTES))
        guessed = known or mimetypes.guess_type(file.name)[0] or kinds.UNKNOWN
        body: dict[str, Any] = {
            "model": options.model,
            "params": dict(options.params),
            "priority": options.priority,
            "lighter": options.lighter,
            "upload": self.upload(file, guessed),
        }
        body |= {"output": options.output.split(",")} if options.output else {}
        url = f"{self.server.url}/api/v1/jobs"
        return _job(self._retry(lambda: self._api.post(url, params={"wait": WAIT_S}, json=body)))

    def follow(self, job: Job, show: Callable[[Job], None]) -> Job:
        """Ask until the job has ended; `show` gets the job before each question.

        Raises Unavailable if nothing changes for STALL_S seconds.
        """
        url, pause_s = f"{self.server.url}/api/v1/jobs/{job['id']}", FIRST_POLL_S
        changed_s = time.monotonic()
        while job["state"] not in ENDED:
            show(job)
            self._pause(pause_s)
            previous, job = job, _job(self._retry(lambda: self._api.get(url)))
            if not _is_same(previous, job):
                changed_s = time.monotonic()
            if time.monotonic() - changed_s > STALL_S:
                raise Unavailable(f"job {job['id']} has not changed for {STALL_S:.0f} s")
            pause_s = min(pause_s * 1.3, LONGEST_POLL_S)
        return job

    def cancel(self, job: Job) -> bool:
        """Cancel a job; returns whether the server says that it has done so."""
        url = f"{self.server.url}/api/v1/jobs/{job['id']}/cancel"
        try:
            return self._api.post(url, timeout=CANCEL_S).is_success
        except httpx.TransportError:
            return False

    def upload(self, file: Path, media_type: str) -> str:
        """Send a file that jobs may name, such as a background; returns the upload's id."""
        asked = {"size": file.stat().st_size, "type": media_type}
        answer = self._retry(
            lambda: self._api.post(f"{self.server.url}/api/v1/uploads", json=asked)
        )
        upload = cast(SignedUpload, _body(answer)["upload"])
        url, headers = self._reached(upload["url"])

        def put() -> httpx.Response:
            with file.open("rb") as body:
                return self._objects.request(
                    upload["method"],
                    url,
                    content=body,
                    headers={**upload["headers"], **headers, "Content-Length": str(asked["size"])},
                )

        answer = self._retry(put)
        if answer.is_error:
            raise Unavailable(f"{file} could not be uploaded: status {answer.status_code}")
        return upload["id"]

    def download(self, url: str, file: Path) -> int:
        """Write a picture of a result to a file; returns its size in bytes."""
        address, headers = self._reached(url)

        def get() -> httpx.Response:
            with self._objects.stream("GET", address, headers=headers) as answer:
                if answer.is_success:
                    with file.open("wb") as out:
                        for chunk in answer.iter_bytes():
                            out.write(chunk)
                return answer

        answer = self._retry(get)
        if answer.is_error:
            raise Unavailable(
                f"a picture of the result could not be downloaded: status {answer.status_code}"
            )
        return file.stat().st_size

    def _reached(self, url: str) -> tuple[str, dict[str, str]]:
        return self.server.reached(urljoin(f"{self.server.url}/", url))

    def _retry(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer to `send`, which is tried TRIES times while the server is busy or restarts."""
        for attempt in range(1, TRIES + 1):
            pause_s = FIRST_PAUSE_S * 2 ** (attempt - 1)
            try:
                answer = send()
            except httpx.TransportError as error:
                if attempt == TRIES:
                    reason = str(error) or type(error).__name__
                    raise Unavailable(f"{self.server.url} does not answer: {reason}") from error
                self._pause(pause_s)
                continue
            if answer.status_code not in BUSY or attempt == TRIES:
                break
            self._pause(_retry_after_s(answer, pause_s))
        return answer

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise Stopped("stopped")


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer. Raises JobError with the server's own words if it is a refusal."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    if answer.is_error:
        error = body.get("error") or {"message": f"the server answered {answer.status_code}"}
        code, hint = error.get("code", ""), error.get("hint")
        raise JobError(error["message"], code=code, status=answer.status_code, hint=hint)
    return body


def _no_pixelmill(url: str) -> BadInput:
    return BadInput(
        f"the server at {url} is not Pixelmill",
        hint="--url is the server's address without a path, e.g. http://127.0.0.1:7860.",
    )


def _job(answer: httpx.Response) -> Job:
    return cast(Job, _body(answer))  # what the API promises


def _retry_after_s(answer: httpx.Response, otherwise: float) -> float:
    try:
        seconds = float(answer.headers.get("retry-after", otherwise))
    except ValueError:  # a date
        seconds = otherwise
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)


def _is_same(previous: Job, job: Job) -> bool:
    before = (previous["state"], previous["stage"], previous["progress"], previous["position"])
    return before == (job["state"], job["stage"], job["progress"], job["position"])
