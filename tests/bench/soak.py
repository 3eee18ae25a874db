"""make soak: 15 minutes of good and odd traffic of 50 identities on a real installation.

Half of the identities have an API key, half the cookie of open mode. Each asks for work of its own
(told apart by the parameter `salt`), asks again, looks, cancels, deletes, uploads, follows its
events, asks for what others own, and sends what no honest client sends (tests/odd.py). Every answer
is checked: the job's id, its salt and the folders of its signed addresses belong to who asked.
Records live for a minute, those of ended runs for ten seconds, so that what ought to go is seen to
go: memory, open files, keys, arrays and objects must be flat. `ARGS="--minutes 2"` is a short form.
"""

import argparse
import asyncio
import itertools
import json
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvloop
from overload import PROCESSES, arrays_of, open_files, rss_mib, slope_per_minute
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
import odd
from short_days import ShortDays
from stack import REPOSITORY, Stack

from storage import api_keys
from storage.redis.calls import SyncRedis

MODELS = Path(__file__).parent / "models"
MINUTES = 15.0
IDENTITIES = 50
ODD_SHARE = 0.15
RECORD_S = 60
"""Life of jobs and uploads; results live twice as long."""
WANTED = 100_000
SAMPLE_S = 5.0
SPAN = 10**6
"""Salts of one identity: identity * SPAN + a number."""


def main() -> int:
    """Run the soak; the exit code is 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--per-s", type=float, default=150, help="requests a second, about")
    chosen = parser.parse_args()
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(MODELS),
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_TASK_EVENTS": "false",
        "PIXELMILL_UPLOAD_TTL_S": str(RECORD_S),
        "PIXELMILL_RESULT_TTL_S": str(RECORD_S),
        "BENCH_DAY_S": str(RECORD_S),
    }
    with tempfile.TemporaryDirectory() as folder, ShortDays(Path(folder), env).start_all() as stack:
        return report(stack, *soaked(stack, chosen.minutes * 60, chosen.per_s))


@dataclass
class Sample:
    """What was in use at one moment."""

    at_s: float
    rss_mib: dict[str, float]
    files: dict[str, int]
    keys: int


@dataclass
class Ledger:
    """What the identities were told."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    odd_statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def seen(self, kind: str, status: int, wrong: str = "") -> None:
        """Note down one answer."""
        self.answers += 1
        self.kinds[kind] += 1
        self.statuses[status] += 1
        if status >= 500 or wrong:
            self.wrong.append(f"{kind}: {status} {wrong}")


@dataclass
class Identity:
    """One user and all that is theirs."""

    number: int
    http: httpx.AsyncClient
    ledger: Ledger
    photo: bytes
    others: "list[Identity]"
    folder: str = ""
    """The user's part of S3 keys: the same in every signed address."""
    jobs: dict[str, int] = field(default_factory=dict)
    """Job id -> salt."""
    salts: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def submit(self) -> None:
        """New work, waited for."""
        await self._ask_for("submit", self.number * SPAN + next(self.salts))

    async def repeat(self) -> None:
        """Work that was asked for before: a cache hit most of the time."""
        if self.jobs:
            await self._ask_for("repeat", random.choice(list(self.jobs.values())))

    async def look(self) -> None:
        """A job of one's own; it may have expired."""
        if job_id := self._some_job():
            answer = await self.http.get(f"/api/v1/jobs/{job_id}")
            self._check("look", answer, {200, 404}, self.jobs[job_id], job_id)
            if answer.status_code == 404:
                self.jobs.pop(job_id, None)

    async def pry(self) -> None:
        """A job of somebody else: 404, whatever is tried."""
        other = random.choice(self.others)
        job_id = other._some_job()
        if not job_id or other is self:
            return
        method, path = random.choice(
            [("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/events")]
        )
        answer = await self.http.request(method, f"/api/v1/jobs/{job_id}{path}")
        wrong = "" if answer.status_code == 404 else f"{method} of a foreign job"
        self.ledger.seen("pry", answer.status_code, wrong)

    async def cancel(self) -> None:
        """Work that is called off at once."""
        salt = self.number * SPAN + next(self.salts)
        job_id = await self._ask_for("cancel: submit", salt, wait_s=0)
        if job_id:
            answer = await self.http.post(f"/api/v1/jobs/{job_id}/cancel")
            self._check("cancel", answer, {200}, salt, job_id)

    async def delete(self) -> None:
        """A job is forgotten, and stays so."""
        if job_id := self._some_job():
            self.jobs.pop(job_id)
            answer = await self.http.delete(f"/api/v1/jobs/{job_id}")
            self.ledger.seen("delete", answer.status_code)
            answer = await self.http.get(f"/api/v1/jobs/{job_id}")
            wrong = "" if answer.status_code == 404 else "a deleted job is there"
            self.ledger.seen("deleted", answer.status_code, wrong)

    async def upload(self) -> None:
        """By a signed address, then by name."""
        asked = {"size": len(self.photo), "type": "image/jpeg"}
        answer = await self.http.post("/api/v1/uploads", json=asked)
        self.ledger.seen("upload", answer.status_code)
        place = answer.json()["upload"]
        self._check_folder("upload", place["url"])
        put = await self.http.put(place["url"], content=self.photo, headers=place["headers"])
        self.ledger.seen("put", put.status_code, "" if put.is_success else "a PUT was refused")
        salt = self.number * SPAN + next(self.salts)
        body = {"upload": place["id"], "model": "noop", "params": {"salt": salt}}
        answer = await self.http.post("/api/v1/jobs?wait=20", json=body)
        self._check("job of an upload", answer, {200, 202, 429}, salt)

    async def follow(self) -> None:
        """The events of all one's jobs, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(1, 4)):
                async with self.http.stream("GET", "/api/v1/events") as stream:
                    self.ledger.seen("events", stream.status_code)
                    async for line in stream.aiter_lines():
                        if line.startswith("data: "):
                            self._check_event(json.loads(line[6:]))

    async def list_models(self) -> None:
        """What everybody may know."""
        answer = await self.http.get("/api/v1/models")
        names = [model["name"] for model in answer.json().get("models", [])]
        self.ledger.seen("models", answer.status_code, "" if names == ["noop"] else f"{names}")

    def _some_job(self) -> str:
        return random.choice(list(self.jobs)) if self.jobs else ""

    async def _ask_for(self, kind: str, salt: int, wait_s: int = 20) -> str:
        url = f"/api/v1/predict/noop?wait={wait_s}&salt={salt}"
        answer = await self.http.post(url, content=self.photo)
        return self._check(kind, answer, {200, 202, 429}, salt)

    def _check(
        self, kind: str, answer: httpx.Response, expected: set[int], salt: int, job_id: str = ""
    ) -> str:
        """Whether a job's answer is the one that was asked for; its id."""
        if answer.status_code not in expected:
            self.ledger.seen(kind, answer.status_code, answer.text[:200])
            return ""
        if answer.status_code in (404, 429):
            self.ledger.seen(kind, answer.status_code)
            return ""
        said = answer.json()
        wrong = self._wrong(said, salt)
        if job_id and said["id"] != job_id:
            wrong = f"asked for job {job_id[:6]}, was given {said['id'][:6]}"
        elif not job_id and said["id"] in self.jobs:
            wrong = "a new job has an old id"
        self.ledger.seen(kind, answer.status_code, wrong)
        self.jobs[said["id"]] = salt
        while len(self.jobs) > 200:
            self.jobs.pop(next(iter(self.jobs)))
        return str(said["id"])

    def _check_event(self, said: dict[str, Any]) -> None:
        self.ledger.events += 1
        if "params" in said:
            wrong = self._wrong(said, self.jobs.get(said["id"], said["params"]["salt"]))
            self.ledger.seen("event", 200, wrong)

    def _wrong(self, said: dict[str, Any], salt: int) -> str:
        """Why this job is not this identity's; empty if it is."""
        given = said["params"]["salt"]
        if given != salt:
            return f"asked with salt {salt}, was given {given}"
        if given // SPAN != self.number:
            return f"identity {self.number} was given a job of {given // SPAN}"
        if said["state"] == "failed":
            return f"failed: {said['error']}"
        return ""

    def _check_folder(self, kind: str, url: str) -> None:
        """Every address of this identity is in one folder, which is nobody else's."""
        folder = urlsplit(url).path.split("/")[3]
        self.folder = self.folder or folder
        shared = [other for other in self.others if other is not self and other.folder == folder]
        if folder != self.folder or shared:
            self.ledger.wrong.append(f"{kind}: address in the folder of somebody else")


Act = Callable[[Identity], Awaitable[None]]
ACTS: dict[Act, int] = {
    Identity.submit: 20,
    Identity.repeat: 40,
    Identity.look: 25,
    Identity.pry: 6,
    Identity.cancel: 2,
    Identity.delete: 3,
    Identity.upload: 2,
    Identity.follow: 1,
    Identity.list_models: 3,
}
"""What an identity does -> how often."""


def soaked(stack: Stack, seconds: float, per_s: float) -> tuple[Ledger, list[Sample], float]:
    """Traffic for so long; what was told, what was in use, and for how long it went on."""
    samples: list[Sample] = []
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(SAMPLE_S):
            samples.append(sample(stack))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        ledger = uvloop.run(traffic(stack, seconds, per_s))
    finally:
        stopping.set()
        watcher.join()
    return ledger, samples, time.monotonic() - began


def sample(stack: Stack) -> Sample:
    """What is in use now."""
    count = sum(int(stack.client(name).dbsize()) for name in ("state", "cache"))
    return Sample(time.monotonic(), rss_mib(stack), open_files(stack), count)


async def traffic(stack: Stack, seconds: float, per_s: float) -> Ledger:
    """All identities at a time, and one who is odd on behalf of each."""
    ledger, end = Ledger(), time.monotonic() + seconds
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    identities: list[Identity] = []
    for number in range(IDENTITIES):
        http = httpx.AsyncClient(
            base_url=stack.url, headers=_key(stack, number), timeout=60, trust_env=False
        )
        identities.append(Identity(number, http, ledger, photo, identities))
    for identity in identities:  # one answer first: open mode makes an identity of it
        await identity.list_models()
    pause_s = IDENTITIES / (per_s * (1 - ODD_SHARE))
    await asyncio.gather(
        *(live(identity, pause_s, end) for identity in identities),
        be_odd(stack, identities, 1 / (per_s * ODD_SHARE), end),
        tell(ledger, end),
    )
    for identity in identities:
        await identity.http.aclose()
    return ledger


def _key(stack: Stack, number: int) -> dict[str, str]:
    """The header of identities with a key; none for those with a cookie."""
    if number % 2:
        return {}
    key = f"key-{secrets.token_hex(12)}"
    SyncRedis(stack.state).do(api_keys.add(key, f"soak-{number}"))
    return {"Authorization": f"Bearer {key}"}


async def live(identity: Identity, pause_s: float, end: float) -> None:
    """Acts at random until the end."""
    acts, weights = list(ACTS), list(ACTS.values())
    while time.monotonic() < end:
        await asyncio.sleep(random.expovariate(1 / pause_s))
        [act] = random.choices(acts, weights)
        try:
            await act(identity)
        except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
            name = act.__name__
            identity.ledger.seen(name, 0, f"{type(error).__name__}: {str(error)[:200]}")


async def be_odd(stack: Stack, identities: list[Identity], pause_s: float, end: float) -> None:
    """Odd requests one after the other, with the credentials of one identity or another."""
    ledger = identities[0].ledger
    while time.monotonic() < end:
        identity = random.choice(identities)
        for what, request in odd.requests(stack.url, _credentials(identity)):
            if time.monotonic() > end:
                return
            await asyncio.sleep(random.expovariate(1 / pause_s))
            try:
                status, head = await odd.answer(stack.url, request)
            except TimeoutError:
                ledger.seen("odd", 0, f"no answer to {what}")
                continue
            ledger.odd_statuses[status] += 1
            ledger.seen("odd", status, f"{what}: {head[:200]!r}" if status >= 500 else "")


def _credentials(identity: Identity) -> bytes:
    if key := identity.http.headers.get("authorization"):
        return b"Authorization: " + key.encode()
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in identity.http.cookies.jar)
    return b"Cookie: " + cookies.encode()


async def tell(ledger: Ledger, end: float) -> None:
    """A line a minute."""
    while (left_s := end - time.monotonic()) > 0:
        await asyncio.sleep(min(60, left_s))
        wrong = f"{len(ledger.wrong)} wrong {ledger.wrong[-1:]}"
        print(f"{max(end - time.monotonic(), 0):5.0f} s left: {ledger.answers} answers, {wrong}",
              flush=True)  # fmt: skip


def keys_by_kind(stack: Stack) -> dict[str, int]:
    """Beginning of a key -> how many; records of runs live for an hour, whatever the settings."""
    names = (key for name in ("state", "cache") for key in stack.client(name).scan_iter(count=5000))
    return dict(Counter(b":".join(key.split(b":")[:2]).decode() for key in names).most_common(12))


def report(stack: Stack, ledger: Ledger, samples: list[Sample], seconds: float) -> int:
    """Print and save; 1 if an answer was wrong."""
    memory = [(sample.at_s, sample.rss_mib) for sample in samples]
    slopes = {name: slope_per_minute(memory, name) for name in PROCESSES}
    middle, last = samples[len(samples) // 2], samples[-1]
    files = {name: last.files[name] - middle.files[name] for name in PROCESSES}
    rows = [[name, f"{slopes[name]:+.2f}", f"{files[name]:+d}"] for name in PROCESSES]
    show(f"{seconds:.0f} s, second half", ["process", "MiB a minute", "open files"], rows)
    show("answers", ["kind", "count"], sorted(ledger.kinds.items()))
    print(f"\nstatuses {dict(sorted(ledger.statuses.items()))}")
    print(f"odd ones {dict(sorted(ledger.odd_statuses.items()))}")
    third = len(samples) // 3
    before, after = (
        max(sample.keys for sample in part)
        for part in (samples[third : 2 * third], samples[2 * third :])
    )
    arrays = arrays_of(stack)
    print(f"keys at most: {before} in the middle third, {after} in the last; arrays left: {arrays}")
    print(f"keys in the end, by kind: {keys_by_kind(stack)}")
    for wrong in ledger.wrong[:20]:
        print(f"WRONG  {wrong}")
    own = max(slopes[name] for name in ("web", "cpu-worker", "gpu-worker"))
    verdict("wrong or foreign answers", len(ledger.wrong), 0)
    verdict("answers checked", ledger.answers, WANTED, at_most=False)
    verdict("our processes grow, MiB a minute", round(own, 2), 1)
    verdict("keys, last third to the middle one", round(after / before, 3), 1.1)
    verdict("open files more", max(files.values()), 10)
    save("soak", {
        "soak_s": round(seconds), "answers": ledger.answers, "events": ledger.events,
        "wrong": len(ledger.wrong), "odd": ledger.kinds["odd"], "keys_middle": before,
        "keys_last": after, "arrays_left": arrays,
        **{f"{name}_mib_per_minute": round(slopes[name], 3) for name in PROCESSES},
        **{f"{name}_open_files": files[name] for name in PROCESSES},
    })  # fmt: skip
    return int(bool(ledger.wrong))


if __name__ == "__main__":
    sys.exit(main())
