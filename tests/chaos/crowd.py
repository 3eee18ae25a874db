"""Clients that hand in pictures, wait for what comes of them, and look at it closely."""

import asyncio
import io
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import numpy as np
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from tasks.imaging import encode

ENDED = ("done", "failed", "cancelled")
LIMIT_S = 120.0
"""Whoever was told that the job is accepted is told within this time how it ended."""
OBJECTS = {"preview.png", "result.json", "thumbnail-256.webp"}

# As fragile_decoder.py and models/stamp.py have them; neither is imported here.
SIDES = (48, 64)
DECODER_MARK = "brings the decoder down"
WORKER_MARK = (3, 1, 4)

Mark = Literal["", "decoder", "worker"]


@dataclass
class Job:
    """One picture of one owner, and what became of it."""

    number: int
    owner: int
    mark: Mark = ""
    id: str = ""
    accepted_at: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    """How often its events were asked for."""
    state: str = ""
    code: str = ""
    is_forgotten: bool = False
    """Its server said that there is no such job."""
    wrong: str = ""
    """What was not as it must be; empty if all was."""

    @property
    def is_lost(self) -> bool:
        """Accepted, and never heard of again."""
        return self.state not in ENDED


@dataclass
class Crowd:
    """`count` clients, each with one job at a time, of two owners who send the same pictures."""

    urls: list[str]
    keys: list[str]
    count: int
    begin: int
    """Number of the first picture."""
    marked: bool = False
    """Whether every tenth picture brings a process down."""
    forgets: bool = False
    """Whether jobs may be forgotten: who hears 404 hands the picture in again."""
    verify: bool = True
    """Whether the certificate of the servers must be one that this machine knows."""
    limit_s: float = LIMIT_S
    """How long they wait for the end of a job."""
    jobs: list[Job] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_door_s: float = 0.0

    async def run(self, until: asyncio.Event) -> None:
        """Hand in and wait; after `until` is set no new picture is begun, all are waited for."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(60, read=20)  # events come or are pinged every 15 s
        async with self._opened(timeout, limits=limits) as http:
            self.http = http
            await asyncio.gather(*(self._client(client, until) for client in range(self.count)))

    async def inspect(self) -> None:
        """Once all is quiet: each result is the golden bytes, and nobody else's."""
        gate = asyncio.Semaphore(16)

        async def one(job: Job) -> None:
            async with gate:
                job.wrong = job.wrong or await self._wrong(job)

        async with self._opened(httpx.Timeout(30)) as http:
            self.http = http
            await asyncio.gather(*(one(job) for job in self.jobs))

    def _opened(self, timeout: httpx.Timeout, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=timeout, trust_env=False, verify=self.verify, **options)

    async def _client(self, client: int, until: asyncio.Event) -> None:
        pair, owner = divmod(client, 2)
        step = (self.count + 1) // 2
        number = self.begin + pair
        while True:
            job = Job(number, owner, self._mark(number))
            self.jobs.append(job)
            await self._accepted(job)
            await self._ended(job)
            while job.is_forgotten:
                job.is_forgotten = False
                await self._accepted(job)
                await self._ended(job)
            if until.is_set():
                return
            number += step

    def _mark(self, number: int) -> Mark:
        marks: Mapping[int, Mark] = {3: "decoder", 17: "worker"} if self.marked else {}
        return marks.get(number % 20, "")

    async def _accepted(self, job: Job) -> None:
        """Ask again and again, of one web process or the other, until the job is accepted."""
        body = picture(job.number, job.mark)
        attempt = job.number
        while True:
            attempt += 1
            url = (
                f"{self.urls[attempt % len(self.urls)]}/api/v1/predict/stamp?wait=0&output=preview"
            )
            began = time.monotonic()
            try:
                answer = await self.http.post(url, content=body, headers=self._headers(job.owner))
            except httpx.HTTPError:
                await asyncio.sleep(0.5)
                continue
            self.slowest_door_s = max(self.slowest_door_s, time.monotonic() - began)
            self.statuses[answer.status_code] += 1
            with suppress(ValueError, KeyError):
                job.id = answer.json()["id"]
                job.accepted_at = time.monotonic()
                return
            await asyncio.sleep(1)

    async def _ended(self, job: Job) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limit_s):
                while job.is_lost and not job.is_forgotten:
                    await self._follow(job)
        job.ended_at = time.monotonic()

    async def _follow(self, job: Job) -> None:
        """Read the job's events until its end; whatever cuts them off, they are asked for again."""
        job.attempts += 1  # at the other web process: this one may be gone
        door = self.urls[(job.number + job.attempts) % len(self.urls)]
        url = f"{door}/api/v1/jobs/{job.id}/events"
        try:
            async with self.http.stream("GET", url, headers=self._headers(job.owner)) as events:
                self.statuses[events.status_code] += 1
                job.is_forgotten = self.forgets and events.status_code == 404
                async for line in events.aiter_lines():
                    if line.startswith("data: "):
                        self._heard(job, httpx.Response(200, content=line[6:]).json())
        except httpx.HTTPError:
            pass
        if job.is_lost and not job.is_forgotten:
            await asyncio.sleep(0.5)

    def _heard(self, job: Job, said: Mapping[str, Any]) -> None:
        if said.get("id", job.id) != job.id:
            job.wrong = f"was told of another job, {said['id'][:6]}"
            return
        if said.get("state") in ENDED:
            job.state = said["state"]
            job.code = (said["error"] or {}).get("code", "?") if job.state == "failed" else ""

    async def _wrong(self, job: Job) -> str:
        url = f"{self.urls[0]}/api/v1/jobs/{job.id}"
        other = await self.http.get(url, headers=self._headers(1 - job.owner))
        if other.status_code != 404:
            return f"shown to another owner: {other.status_code}"
        answer = await self.http.get(url, headers=self._headers(job.owner))
        if self.forgets and answer.status_code == 404:
            return ""  # it was done before the state was emptied
        said = answer.json()
        if answer.status_code != 200 or said["state"] != job.state:
            state = said.get("state", "")
            return f"ended {job.state}, but is {answer.status_code} {state} {answer.text[:200]}"
        if job.state == "failed":
            return "" if said["error"]["message"] else "failed without a reason"
        if job.mark:
            return f"done, though it is marked ({job.mark})"
        picture = await self.http.get(said["result"]["objects"]["preview"]["url"])
        if picture.content != golden(job.number):
            return (
                f"other bytes than the golden ones: {picture.status_code}, {len(picture.content)}"
            )
        return ""

    def _headers(self, owner: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[owner]}"}


def pixels(number: int, mark: Mark) -> Any:
    """H x W x 3 uint8: noise of its own for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (*SIDES, 3), np.uint8)
    noise[0, 0] = WORKER_MARK if mark == "worker" else (0, 0, 0)
    return noise


def picture(number: int, mark: Mark) -> bytes:
    """What is sent: a PNG."""
    notes = PngInfo()
    if mark == "decoder":
        notes.add_text("comment", DECODER_MARK)
    file = io.BytesIO()
    Picture.fromarray(pixels(number, mark)).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


def golden(number: int) -> bytes:
    """What must come back: the negative, as PNG."""
    return encode.png(255 - pixels(number, ""))
