"""The faults: each a function that strikes a scene and returns when its cause is over."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from scene import OWNERS, WORKERS, Scene

sys.path.insert(0, str(Path(__file__).parent.parent))
import many_jobs
import odd
import slow_clients

ODD_CLIENTS = 4
FIRST, HISTORY = 2**40, 200_000
"""Numbers of the jobs of a long history."""
DELETED = 50
IDLE = 300
IDLE_S = 30


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    strike: Callable[[Scene], None]
    marked: bool = False
    """The fault is in the pictures."""
    forgets: bool = False
    """Jobs of before are gone: who hears 404 hands the picture in again."""
    why_not: Callable[[Scene], str] = lambda scene: ""
    """Why it cannot be tried here; empty if it can."""


def kill_child(scene: Scene) -> None:
    os.kill(scene.children("cpu-worker")[0], signal.SIGKILL)


def empty_cache(scene: Scene) -> None:
    scene.client("cache").flushall()


def slow_s3(scene: Scene) -> None:
    scene.set_faults(delay_s=2.0, refused=0.05)
    time.sleep(20)
    scene.set_faults(delay_s=0.0, refused=0.0)


def fill_state(scene: Scene) -> None:
    client = scene.state
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    time.sleep(5)
    client.config_set("maxmemory", 0)


def fill_scratch(scene: Scene) -> None:
    with filled(scene.scratch):
        time.sleep(5)


def fill_disk(scene: Scene) -> None:
    with filled(scene.folder):
        time.sleep(10)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is free in the folder's file system while the context lasts."""
    ballast = folder / "ballast"
    stopping = threading.Event()

    def fill() -> None:
        with open(ballast, "wb", buffering=0) as file:
            while not stopping.is_set():  # what others give back meanwhile is taken as well
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    stopping.wait(0.05)

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        yield
    finally:
        stopping.set()
        filler.join()
        ballast.unlink()


def empty_state(scene: Scene) -> None:
    scene.state.flushall()
    time.sleep(2)
    scene.add_keys()  # as `pixelmill up` does by itself


def send_odd_text(scene: Scene) -> None:
    """Every odd request to both web processes; one that is answered by a 5xx is harm."""
    asyncio.run(_send_odd_text(scene))


async def _send_odd_text(scene: Scene) -> None:
    header = f"Authorization: Bearer {next(iter(scene.keys))}".encode()
    wanted = [(url, *asked) for url in scene.urls for asked in odd.requests(url, header)]
    sending = iter(wanted)

    async def client() -> None:
        for url, what, request in sending:
            status, head = await odd.answer(url, request)
            if status >= 500 and status not in (503, 507):
                scene.harm.append(f"{status} to {what}")

    await asyncio.gather(*(client() for _ in range(ODD_CLIENTS)))


def be_idle(scene: Scene) -> None:
    """IDLE connections of each kind to the first web process, which fall silent."""
    kinds = slow_clients.kinds(scene, "stamp")
    sources = [f"127.0.0.{number}" for number in range(2, 52)]
    with ExitStack() as crowds:
        for kind in slow_clients.KINDS:
            crowds.enter_context(slow_clients.crowd(scene.urls[0], kinds.sent(kind), IDLE, sources))
        time.sleep(IDLE_S)


def remember_much(scene: Scene) -> None:
    """One owner has a long history, and deletes from it."""
    owner = OWNERS[0]
    numbers = range(FIRST, FIRST + HISTORY)
    many_jobs.do_all(scene.state, (many_jobs.claim(number, user=owner) for number in numbers))
    [key] = [key for key, own in scene.keys.items() if own == owner]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=scene.urls[0], headers=headers, timeout=30) as http:
        for number in numbers[:: HISTORY // DELETED]:
            status = http.delete(f"/api/v1/jobs/{number:032x}").status_code
            if status != 204:
                scene.harm.append(f"{status} to a DELETE")


def rolling_restart(scene: Scene) -> None:
    for name in ("web", "web-2", *WORKERS):
        scene.restart(name)


def wait_a_little(scene: Scene) -> None:
    time.sleep(5)


FAULTS = (
    Fault("kill -9 a prefork child", kill_child),
    Fault("kill -9 the cpu worker", lambda scene: scene.strike("cpu-worker")),
    Fault("kill -9 the gpu worker", lambda scene: scene.strike("gpu-worker")),
    Fault("kill -9 all workers", lambda scene: scene.strike(*WORKERS)),
    Fault("kill -9 a web process", lambda scene: scene.strike("web")),
    Fault("kill -9 the state Redis, 3 s", lambda scene: scene.take_down("state", 3)),
    Fault("empty the cache Redis", empty_cache),
    Fault("stop S3 for 30 s", lambda scene: scene.take_down("s3", 30)),
    Fault("S3 2 s a call, 5 % 503", slow_s3),
    Fault("state Redis full for 5 s", fill_state),
    Fault("scratch full for 5 s", fill_scratch, why_not=lambda scene: scene.why_no_small_disk),
    Fault("disk full for 10 s", fill_disk, why_not=lambda scene: scene.why_no_small_disk),
    Fault("empty the state Redis", empty_state, forgets=True),
    Fault("odd text on every route", send_odd_text),
    Fault("idle connections for 30 s", be_idle),
    Fault("long history", remember_much),
    Fault("SIGTERM, one after the other", rolling_restart),
    Fault("pictures that crash", wait_a_little, marked=True),
)
