"""The API of a running server, as `pixelmill run` and `pixelmill models` use it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict
from urllib.parse import urljoin, urlsplit

import httpx

from deploy.local import run_file
from tasks.errors import BadInput, JobError, Unavailable
from tasks.models.base import RESERVED
from tasks.settings import settings

ENDED = frozenset({"done", "failed", "cancelled"})
BUSY = frozenset({429, 502, 503, 504})
"""Statuses after which a request is sent again."""
TRIES = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between tries; each pause is twice the one before, unless the server names another."""
FIRST_POLL_S, LONGEST_POLL_S = 0.2, 1.0
"""Between two questions for a job."""
STALL_S = 600.0
"""A job that has not changed for so long is given up."""


class Picture(TypedDict):
    """One picture of a result."""

    url: str
    type: str
    """Media type."""


class Result(TypedDict):
    """What a job has made."""

    objects: Mapping[str, Picture]


class Failure(TypedDict):
    """Why a job or a request failed."""

    message: str
    hint: NotRequired[str | None]


class Job(TypedDict):
    """A job as the API answers; other fields are passed on as they are."""

    id: str
    state: str
    stage: str | None
    progress: float
    """From 0 to 1."""
    position: int | None
    """Place in the queue; 1 is next."""
    cached: bool
    error: Failure | None
    result: Result


class Profile(TypedDict):
    """One of the profiles of a model."""

    ms_per_image: float
    weights_bytes: int


class Model(Profile):
    """A model as the API answers; its own times and sizes are of its first profile."""

    name: str
    title: str
    kind: str
    live: bool
    """Whether a worker serves it now."""
    device: str
    licence: str
    profiles: NotRequired[Mapping[str, Profile]]


@dataclass(frozen=True)
class Server:
    """Where the API is, and the key to it; a server in open mode needs none."""

    url: str
    key: str


@dataclass(frozen=True)
class RunOptions:
    """What is asked for of every file."""

    model: str
    params: Mapping[str, str]
    objects: str = ""
    """Comma-separated names of the pictures to make; empty for those of the model."""


def find_server(url: str, key: str) -> Server:
    """The server that is named, else the `pixelmill up` of this folder; Unavailable without one."""
    run = run_file.read(settings().var_dir)
    base = (url or run.url).rstrip("/")
    if not base:
        file = settings().var_dir / run_file.NAME
        raise Unavailable(
            "no server found: neither --url nor PIXELMILL_URL is given, and there is no "
            f"{file} of a running `pixelmill up`",
            hint="Start a server with `pixelmill up`, or name one with --url.",
        )
    if not base.startswith(("http://", "https://")):
        raise BadInput(f"{base!r} is not an address; expected e.g. http://127.0.0.1:7860")
    # The key of this machine's server is sent to no other.
    own_key = run.api_key if base == run.url else None
    return Server(base, key or own_key or "")


def parameters(pairs: Sequence[str]) -> dict[str, str]:
    """Parameters of a model from words like `refine=true`; BadInput for any other word."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in RESERVED:
            raise BadInput(f"{pair!r} is not a parameter of a model; expected e.g. -p refine=true")
        values[name] = value
    return values


class Client:
    """The API of one server, for several threads. Waits while the server is busy or restarts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopping = threading.Event()
        """Once it is set, every call that would wait raises Unavailable."""
        key = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        # The proxy of the environment is elsewhere and cannot reach our loopback.
        proxied = urlsplit(server.url).hostname not in ("127.0.0.1", "localhost", "::1")
        timeout = httpx.Timeout(60, connect=5)
        self._api = httpx.Client(headers=key, timeout=timeout, trust_env=proxied)
        # Without the key: S3 refuses signed addresses that come with one.
        self._pictures = httpx.Client(timeout=timeout, trust_env=proxied)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._api.close()
        self._pictures.close()

    def models(self) -> list[Model]:
        """The models of the server. Unavailable if it does not answer at the first try."""
        try:
            answer = self._api.get(f"{self.server.url}/api/v1/models")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no server answers at {self.server.url}: {error}",
                hint="Start a server with `pixelmill up`, or name another with --url.",
            ) from error
        models: list[Model] | None = _body(answer).get("models")
        if models is None:
            raise BadInput(f"the server at {self.server.url} is not Pixelmill")
        return models

    def predict(self, file: Path, options: RunOptions) -> Job:
        """Send a file; returns its job without waiting for its end."""
        query = {**options.params, "wait": "0"}
        query |= {"output": options.objects} if options.objects else {}
        url = f"{self.server.url}/api/v1/predict/{options.model}"

        def send() -> httpx.Response:
            with file.open("rb") as body:  # opened for each try, as a try reads it to the end
                return self._api.post(url, params=query, content=body)

        return _job(self._retry(send))

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

    def fetch(self, url: str) -> bytes:
        """The bytes of a picture of a result."""
        address = urljoin(f"{self.server.url}/", url)
        answer = self._retry(lambda: self._pictures.get(address))
        if answer.is_error:
            raise Unavailable(
                f"a picture of the result could not be downloaded: status {answer.status_code}"
            )
        return answer.content

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
            raise Unavailable("stopped")


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer. Raises JobError with the server's own words if it is a refusal."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    if answer.is_error:
        error = body.get("error") or {"message": f"the server answered {answer.status_code}"}
        raise JobError(error["message"], status=answer.status_code, hint=error.get("hint"))
    return body


def _job(answer: httpx.Response) -> Job:
    job: Job = _body(answer)  # type: ignore[assignment]  # what the API promises
    return job


def _retry_after_s(answer: httpx.Response, otherwise: float) -> float:
    try:
        seconds = float(answer.headers.get("retry-after", otherwise))
    except ValueError:  # a date
        seconds = otherwise
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)


def _is_same(previous: Job, job: Job) -> bool:
    before = (previous["state"], previous["stage"], previous["progress"], previous["position"])
    return before == (job["state"], job["stage"], job["progress"], job["position"])
