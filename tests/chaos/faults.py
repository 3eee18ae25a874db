"""The faults: each a function that strikes a scene and returns when its cause is over."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from scene import WORKERS, Scene


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    strike: Callable[[Scene], None]
    marked: bool = False
    """The fault is in the pictures."""
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
    ballast = scene.scratch / "ballast"
    with open(ballast, "wb") as file:
        try:
            while True:
                file.write(bytes(65_536))
                file.flush()
        except OSError:
            pass
        time.sleep(5)
    ballast.unlink()


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
    Fault("SIGTERM, one after the other", rolling_restart),
    Fault("pictures that crash", wait_a_little, marked=True),
)
