"""make bench-sse: what 20 updates to a browser cost a web process, beside a Gradio generator.

Ours: runs are taken through 20 changes on real Redis, 50 ms apart; one stream a tab on
`GET /api/v1/events`, and one stream a job for comparison. Gradio's: a generator that yields such
job objects, 50 ms apart, out of memory; its clients join the queue and read its stream as its own
page does. Each is one process, watched from outside; CPU is that process's, request and all.
"""

import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
import httpx
import runs
from stack import API_KEY, Stack, free_port

from storage import api_keys
from storage.jobs import endings
from storage.jobs.endings import End
from storage.redis.calls import AsyncRedis, SyncRedis
from web.limits import STATE_LIMIT_S

UPDATES = 20
EVERY_S = 0.05
STREAMS = [int(count) for count in setting("STREAMS", "1,20,200", "streams at a time").split(",")]
FOREIGN_RUNS = 300
"""Runs that nobody follows, to see what they cost a process."""


def main() -> None:
    parser(__doc__).parse_args()
    figures: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start_servers()
        stack.start_web()
        gradio = _start_gradio(stack)
        contestants: dict[str, tuple[str, Callable[[Stack, int], Coroutine[Any, Any, Tally]]]] = {
            "tab": ("web", _tabs),
            "job": ("web", _jobs),
            "gradio": ("gradio", lambda stack, count: _gradio(gradio, count)),
        }
        for name, (process, play) in contestants.items():
            uvloop.run(play(stack, 4))  # warm
            for count in STREAMS:
                before, began = stack.cpu_s(process), time.monotonic()
                tally = uvloop.run(play(stack, count))
                seconds = time.monotonic() - began
                cpu_ms = (stack.cpu_s(process) - before) * 1000 / count
                key = f"{name}_{count}"
                figures |= {
                    f"{key}_cpu_ms": round(cpu_ms, 3),
                    f"{key}_events": round(tally.events / count, 2),
                    f"{key}_p95_ms": round(tally.p95_ms, 2),
                }
                rows.append(
                    [name, count, f"{cpu_ms:.2f}", f"{tally.events / count:.1f}",
                     f"{tally.p95_ms:.1f}", f"{seconds:.1f}"]
                )  # fmt: skip
        figures["foreign_run_cpu_ms"] = round(_foreign(stack), 4)
    show(
        f"{UPDATES} updates, {EVERY_S * 1000:g} ms apart",
        ["stream", "at once", "CPU ms/stream", "events/stream", "p95 late ms", "s"],
        rows,
    )
    print(f"a run that nobody follows: {figures['foreign_run_cpu_ms']:.3f} CPU ms of a web process")
    most = max(STREAMS)
    figures["ratio"] = round(figures[f"gradio_{most}_cpu_ms"] / figures[f"tab_{most}_cpu_ms"], 2)
    print()
    verdict("CPU of a tab's stream: times less than Gradio", figures["ratio"], 10, at_most=False)
    verdict("events a stream", figures[f"tab_{most}_events"], UPDATES, at_most=False)
    save("sse", figures)


class Tally:
    """Events that arrived, and how late."""

    def __init__(self) -> None:
        self.events = 0
        self.late_ms: list[float] = []

    def arrived(self, late_ms: float) -> None:
        self.events += 1
        self.late_ms.append(late_ms)

    @property
    def p95_ms(self) -> float:
        """95 % were not later."""
        return sorted(self.late_ms)[int(len(self.late_ms) * 0.95)] if self.late_ms else 0.0


async def _tabs(stack: Stack, count: int) -> Tally:
    """A user and a stream of theirs each."""
    keys = [f"key-{secrets.token_hex(8)}" for _ in range(count)]
    for key in keys:
        SyncRedis(stack.state).do(api_keys.add(key, f"user-{key}"))
    return await _ours(stack, [f"user-{key}" for key in keys], keys, lambda job: "/api/v1/events")


async def _jobs(stack: Stack, count: int) -> Tally:
    return await _ours(
        stack,
        ["tester"] * count,
        [API_KEY] * count,
        lambda job: f"/api/v1/jobs/{job.id}/events",
    )


async def _ours(
    stack: Stack, owners: list[str], keys: list[str], path: Callable[[runs.Job], str]
) -> Tally:
    tally = Tally()
    jobs = [runs.claim(SyncRedis(stack.state), owner) for owner in owners]
    said_at: dict[str, dict[int, float]] = {job.id: {} for job in jobs}

    def on_data(text: bytes) -> bool:
        job = json.loads(text)
        number = UPDATES if job["state"] == "done" else round(job["progress"] * 100)
        if at := said_at[job["id"]].get(number):
            tally.arrived((time.monotonic() - at) * 1000)
        return number == UPDATES

    streams = [Stream(stack.url, path(job), key) for job, key in zip(jobs, keys, strict=True)]
    state = AsyncRedis(stack.env["PIXELMILL_STATE_URL"], limit_s=STATE_LIMIT_S)
    await asyncio.gather(*(stream.open() for stream in streams))
    await asyncio.gather(
        *(stream.read(on_data) for stream in streams),
        *(_drive(state, job, said_at[job.id]) for job in jobs),
    )
    await state.close()
    return tally


async def _drive(state: AsyncRedis, job: runs.Job, said_at: dict[int, float]) -> None:
    """Nineteen changes on the way and the end."""
    await asyncio.sleep(EVERY_S * random.random())  # no two in step
    for number in range(1, UPDATES):
        said_at[number] = time.monotonic()
        call = runs.begin_stage(
            [job.ref], "inference", progress=number / 100, priority="interactive"
        )
        await state.do(call)
        await asyncio.sleep(EVERY_S)
    said_at[UPDATES] = time.monotonic()
    end = End(job.ref, "done", runs.RESULT)
    await state.do(endings.finish([end], job_ttl_s=60))


class Stream:
    """A client of server-sent events that costs little."""

    def __init__(self, url: str, path: str, key: str = "") -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n"
        )

    async def open(self) -> None:
        """Returns when the first event is there."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(self._request.encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head, head
        while not (await self._reader.readline()).startswith(b"data:"):
            pass

    async def read(self, on_data: Callable[[bytes], bool]) -> None:
        """Hand over every event until `on_data` says that it was the last."""
        while line := await self._reader.readline():
            if line.startswith(b"data: ") and on_data(line[6:]):
                break
        self._writer.close()


def _start_gradio(stack: Stack) -> str:
    """A page with a generator, served as our web process is; its address."""
    port = str(free_port())
    script = Path(__file__).parent / "generator.py"
    env = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    stack.start("gradio", [sys.executable, str(script), port, str(UPDATES), str(EVERY_S)], env)
    url = f"http://127.0.0.1:{port}"
    stack.wait_for("gradio", lambda: httpx.get(f"{url}/config").status_code == 200)
    return url


async def _gradio(url: str, count: int) -> Tally:
    tally = Tally()
    sessions = [secrets.token_hex(8) for _ in range(count)]
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits()) as client:
        await asyncio.gather(*(_generated(client, url, session, tally) for session in sessions))
    return tally


async def _generated(client: httpx.AsyncClient, url: str, session: str, tally: Tally) -> None:
    await asyncio.sleep(EVERY_S * random.random())
    asked = {"data": [], "fn_index": 0, "session_hash": session}
    (await client.post("/gradio_api/queue/join", json=asked)).raise_for_status()
    stream = Stream(url, f"/gradio_api/queue/data?session_hash={session}")
    await stream.open()

    def on_data(text: bytes) -> bool:
        event = json.loads(text)
        if event["msg"] == "process_generating":
            tally.arrived(0)
        return bool(event["msg"] == "process_completed")

    await stream.read(on_data)


def _foreign(stack: Stack) -> float:
    """CPU ms of the web process for a run that nobody follows, with three stages told of."""
    link = SyncRedis(stack.state)
    before = stack.cpu_s("web")
    idle_s = time.monotonic()
    for _ in range(FOREIGN_RUNS):
        job = runs.claim(link, "nobody")
        for stage in runs.STAGES:
            job.begin_stage(stage)
            job.end_stage(stage)
        job.finish()
    spent, idle_s = stack.cpu_s("web") - before, time.monotonic() - idle_s
    before = stack.cpu_s("web")
    time.sleep(idle_s)
    return (spent - (stack.cpu_s("web") - before)) * 1000 / FOREIGN_RUNS


if __name__ == "__main__":
    main()
