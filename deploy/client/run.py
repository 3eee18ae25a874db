"""`pixelmill run`: sends photos to a running server, several at a time, and writes the results."""

import json
import mimetypes
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tasks.errors import BadInput, JobError, Unavailable
from tasks.models.base import RESERVED
from tasks.settings import settings

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif"})
"""What is taken out of a folder; a file that is named itself is sent whatever it is called."""
ENDED = frozenset({"done", "failed", "cancelled"})
BUSY = frozenset({429, 502, 503, 504})
TRIES = 6
LONGEST_PAUSE_S = 30.0
POLL_S, LONGEST_POLL_S = 0.2, 1.0
STALL_S = 600.0
"""A job of which nothing has changed for so long is given up."""


@dataclass(frozen=True)
class Server:
    """Where the API is, and the key that opens it (empty: open mode)."""

    url: str
    key: str


@dataclass(frozen=True)
class Order:
    """What is asked for of every file."""

    model: str
    params: Mapping[str, str]
    objects: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    file: Path
    cached: bool = False
    bytes: int = 0
    error: str = ""


def find_server(url: str, key: str) -> Server:
    """The server named, else the one of `pixelmill up` in this folder. Unavailable when none is."""
    here = _run_file()
    base = (url or str(here.get("url") or "")).rstrip("/")
    if not base:
        raise Unavailable(
            f"no server found: neither --url nor PIXELMILL_URL is given, and there is no "
            f"{settings().var_dir / 'run.json'}",
            hint="Start one with `pixelmill up`, or name one with --url.",
        )
    if not base.startswith(("http://", "https://")):
        raise BadInput(f"{base!r} is no address; expected e.g. http://127.0.0.1:7860")
    # The key of this machine's server is not sent to any other.
    own = str(here.get("api_key") or "") if base == here.get("url") else ""
    return Server(base, key or own)


def parameters(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a mapping; BadInput for what is not one."""
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if not equals or not name or name in RESERVED:
            raise BadInput(f"{pair!r} is no parameter of a model; expected e.g. -p refine=true")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def files_of(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """File -> where its results go below `out`, without ending; no two go to the same place."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"there is no file or folder {path}")
        for file in _pictures(path, out.resolve()) if path.is_dir() else [path]:
            inside = file.relative_to(path) if path.is_dir() else Path(file.name)
            found.setdefault(file.resolve(), inside)
    if not found:
        there = " ".join(f"*{ending}" for ending in sorted(ENDINGS))
        raise BadInput(f"no photos in {', '.join(map(str, paths))}; expected {there}")
    return _apart(found)


class Client:
    """The API of one server, for several threads. Rides out a busy or restarting server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopping = threading.Event()
        key = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        # A proxy of the environment does not know what this machine's own loopback has.
        proxied = urlsplit(server.url).hostname not in ("127.0.0.1", "localhost", "::1")
        timeout = httpx.Timeout(60, connect=5)
        self._api = httpx.Client(headers=key, timeout=timeout, trust_env=proxied)
        # S3 refuses a signed address that comes with an Authorization of another kind.
        self._pictures = httpx.Client(timeout=timeout, trust_env=proxied)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._api.close()
        self._pictures.close()

    def models(self) -> list[dict[str, Any]]:
        """What the server can do. Unavailable when it is not there; nothing is tried again."""
        try:
            answer = self._api.get(f"{self.server.url}/api/v1/models")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no server answers at {self.server.url}: {error}",
                hint="Start one with `pixelmill up`, or name another with --url.",
            ) from error
        found: list[dict[str, Any]] | None = _body(answer).get("models")
        if found is None:
            raise BadInput(f"what answers at {self.server.url} is not Pixelmill")
        return found

    def predict(self, file: Path, order: Order) -> dict[str, Any]:
        """Send a file; its job as it is then."""
        query = {**order.params, "wait": "0"}
        query |= {"output": order.objects} if order.objects else {}
        url = f"{self.server.url}/api/v1/predict/{order.model}"

        def send() -> httpx.Response:
            with file.open("rb") as body:  # opened for each try: a try uses it up
                return self._api.post(url, params=query, content=body)

        return _body(self._patiently(send))

    def follow(self, job: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Ask until the job has ended; `show` is called with every answer."""
        url, pause_s, changed_s = f"{self.server.url}/api/v1/jobs/{job['id']}", POLL_S, _now()
        while job["state"] not in ENDED:
            show(job)
            self._pause(pause_s)
            before, job = job, _body(self._patiently(lambda: self._api.get(url)))
            changed_s = changed_s if _same(before, job) else _now()
            if _now() - changed_s > STALL_S:
                raise Unavailable(f"nothing has happened for {STALL_S:.0f} s; job {job['id']}")
            pause_s = min(pause_s * 1.3, LONGEST_POLL_S)
        return job

    def fetch(self, url: str) -> bytes:
        """The bytes of a picture of a result."""
        address = urljoin(f"{self.server.url}/", url)
        answer = self._patiently(lambda: self._pictures.get(address))
        if answer.is_error:
            raise Unavailable(f"a result could not be read: the answer was {answer.status_code}")
        return answer.content

    def _patiently(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer, after as many as TRIES tries when the server is busy or restarting."""
        for attempt in range(1, TRIES + 1):
            try:
                answer = send()
            except httpx.TransportError as error:
                if attempt == TRIES:
                    why = str(error) or type(error).__name__
                    raise Unavailable(f"{self.server.url} does not answer: {why}") from error
                self._pause(0.25 * 2**attempt)
                continue
            if answer.status_code not in BUSY or attempt == TRIES:
                break
            self._pause(_retry_after_s(answer, 0.25 * 2**attempt))
        return answer

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise Unavailable("stopped")


def main(paths: Sequence[Path], out: Path, order: Order, server: Server, jobs: int) -> int:
    """Send everything, say what came of it; the exit code."""
    began = _now()
    with Client(server) as client:
        _check_model(client.models(), order.model)
        targets = files_of(paths, out)
        with _display(len(targets)) as display:
            outcomes = list(_run_all(client, targets, order, out, jobs, display))
    for outcome in sorted(outcomes, key=lambda one: one.file):
        if outcome.error:
            _say(f"{_near(outcome.file)}: {outcome.error}", "red")
    failed = sum(bool(outcome.error) for outcome in outcomes)
    cached = sum(outcome.cached for outcome in outcomes)
    mb = sum(outcome.bytes for outcome in outcomes) / 1e6
    done = f"{len(outcomes) - failed} done, {cached} of them cached, {failed} failed"
    print(f"{done}; {_now() - began:.1f} s, {mb:.1f} MB in {out}")
    return 1 if failed else 0


class _Display:
    """A bar for all files, and a line for each that is on its way."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.all = progress.add_task("all", total=total, stage="")

    @contextmanager
    def line(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """A line while the block runs, and what changes it."""
        task: TaskID = self.progress.add_task(f"  {name}", total=1, stage="sending")
        try:
            yield lambda done, stage: self.progress.update(task, completed=done, stage=stage)
        finally:
            self.progress.remove_task(task)
            self.progress.advance(self.all)


@contextmanager
def _display(total: int) -> Iterator[_Display]:
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    stage = TextColumn("{task.fields[stage]}", markup=False)
    with Progress(*columns, stage, console=console, disable=not console.is_terminal,
                  transient=True) as progress:  # fmt: skip
        yield _Display(progress, total)


def _run_all(
    client: Client, targets: Mapping[Path, Path], order: Order, out: Path, jobs: int,
    display: _Display,
) -> Iterator[Outcome]:  # fmt: skip
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="file")
    try:
        futures = [
            pool.submit(_run_one, client, file, out / target, order, display)
            for file, target in targets.items()
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:  # Ctrl-C: what waits is dropped, what runs stops at its next pause
        client.stopping.set()
        pool.shutdown(cancel_futures=True)


def _run_one(client: Client, file: Path, target: Path, order: Order, display: _Display) -> Outcome:
    """One file from the disk to its results; a failure is an outcome too."""
    with display.line(file.name) as show:
        try:
            job = client.predict(file, order)
            job = client.follow(job, lambda now: show(now["progress"], _stage(now)))
            if job["state"] != "done":
                error = job["error"] or {"message": f"the job was {job['state']}"}
                return Outcome(file, error=_sentence(error["message"], error.get("hint")))
            show(1, "saving")
            return Outcome(file, job["cached"], _save(client, job, target))
        except JobError as error:
            return Outcome(file, error=_sentence(str(error), error.hint))
        except (httpx.HTTPError, OSError) as error:
            return Outcome(file, error=f"{error or type(error).__name__}")


def _save(client: Client, job: Mapping[str, Any], target: Path) -> int:
    """Write every picture and then the job itself; the number of bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    contents = {}
    for name, picture in job["result"]["objects"].items():
        if not re.fullmatch(r"\w[\w-]*", name):  # it becomes part of a path on this disk
            raise BadInput(f"the server sent an object with the odd name {name!r}")
        contents[f"{name}{_ending(picture['type'])}"] = client.fetch(picture["url"])
    contents["json"] = json.dumps(job, indent=1).encode()
    for name, data in contents.items():
        file = target.with_name(f"{target.name}.{name}")
        new = file.with_name(f"{file.name}.part")
        new.write_bytes(data)
        new.replace(file)
    return sum(map(len, contents.values()))


def _check_model(cards: Sequence[Mapping[str, Any]], name: str) -> None:
    """Refuse at once what would fail for every file."""
    live = {card["name"]: card["live"] for card in cards}
    if name not in live:
        there = ", ".join(live) or "none yet: no worker has announced itself"
        raise BadInput(f"no model {name!r}; there are: {there}")
    if not live[name]:
        raise Unavailable(f"no worker serves {name!r} at present", hint="See `pixelmill doctor`.")


def _pictures(folder: Path, out: Path) -> list[Path]:
    """Photos below a folder, in order; earlier results are none."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return sorted(path for path in found if path.is_file() and not _is_result(path, out))


def _is_result(path: Path, out: Path) -> bool:
    job = path.with_name(path.name.rsplit(".", 2)[0] + ".json")
    return "." in path.stem and out in path.resolve().parents and job.is_file()


def _apart(found: Mapping[Path, Path]) -> dict[Path, Path]:
    """The shortest names that differ: without ending, with it, with the folders above."""
    root = Path(os.path.commonpath([file.parent for file in found]))
    whole = Counter(found.values())
    short = Counter(inside.with_suffix("") for inside in found.values())

    def name(file: Path, inside: Path) -> Path:
        if short[inside.with_suffix("")] == 1:
            return inside.with_suffix("")
        return inside if whole[inside] == 1 else file.relative_to(root)

    targets = {file: name(file, inside) for file, inside in found.items()}
    if len(set(targets.values())) == len(targets):
        return targets
    return {file: file.relative_to(root) for file in found}  # a.jpg, a.png and a.jpg.png


def _run_file() -> dict[str, Any]:
    """What `pixelmill up` says of itself; empty when it does not run."""
    try:
        found: dict[str, Any] = json.loads((settings().var_dir / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON; JobError with the server's own words when it is a refusal."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    if answer.is_error:
        error = body.get("error") or {"message": f"the server answered {answer.status_code}"}
        raise JobError(error["message"], status=answer.status_code, hint=error.get("hint"))
    return body


def _retry_after_s(answer: httpx.Response, otherwise: float) -> float:
    try:
        wanted = float(answer.headers.get("retry-after", otherwise))
    except ValueError:  # a date
        wanted = otherwise
    return min(max(wanted, 0.0), LONGEST_PAUSE_S)


def _same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(before[name] == now[name] for name in ("state", "stage", "progress", "position"))


def _stage(job: Mapping[str, Any]) -> str:
    if job["state"] == "queued" and (job["position"] or 0) > 1:
        return f"queued, {job['position'] - 1} before it"
    return str(job["stage"] or job["state"])


def _ending(media_type: str) -> str:
    known = {"image/webp": ".webp", "image/avif": ".avif"}  # not in every Python's table
    return known.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"


def _sentence(message: str, hint: str | None) -> str:
    return f"{message} ({hint})" if hint else message


def _near(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if here in file.parents else file


def _say(line: str, colour: str) -> None:
    Console(stderr=True).print(line, style=colour, markup=False, highlight=False, soft_wrap=True)


def _now() -> float:
    return time.monotonic()
