"""Starts the servers of `pixelmill up` that no setting names, and waits until they answer."""

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis

from deploy.local import servers
from deploy.local.installation import LOOPBACK, Installation
from deploy.supervision import probes
from deploy.supervision.process import Program
from deploy.supervision.supervisor import Supervisor
from tasks.settings import Settings

REDIS_READY_S = 30.0
S3_READY_S = 20.0


def start(
    supervisor: Supervisor,
    settings: Settings,
    installation: Installation,
    *,
    origin: str,
    report: Callable[[str], None],
) -> None:
    """Start up to two Redis and one S3 at the same time, and wait for them. Raises CannotStart.

    `origin`: the address of the page, which S3 lets browsers read from and write to.
    """
    given, own = settings.model_fields_set, installation
    waits: list[Callable[[], None]] = []
    if "state_url" not in given:
        config = servers.state_config(settings.state_memory_mib, is_durable=settings.durable)
        state = _redis(settings, "state", own.state_port, own.state_password, config)
        waits.append(start_redis(supervisor, state, own.state_url))
    if "cache_url" not in given:
        config = servers.CACHE_CONFIG
        cache = _redis(settings, "cache", own.cache_port, own.cache_password, config)
        waits.append(start_redis(supervisor, cache, own.cache_url))
    if "s3_url" not in given:
        folder = settings.var_dir / "s3"
        # Beside everything else, as a folder of a million results takes minutes to walk.
        threading.Thread(
            target=_remove_unfinished, args=(folder, time.time(), report), daemon=True
        ).start()
        waits.append(_start_s3(supervisor, folder, own, origin))
    for wait in waits:
        wait()


def start_redis(supervisor: Supervisor, program: Program, url: str) -> Callable[[], None]:
    """Start a Redis; the returned function waits until it answers at `url`."""
    supervisor.start(program, probes.redis_server(url))

    def wait() -> None:
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            supervisor.wait_for(program.name, lambda: _answers_ping(client), REDIS_READY_S)

    return wait


def _redis(settings: Settings, name: str, port: int, password: str, config: str) -> Program:
    folder, server = settings.var_dir / f"{name}-redis", settings.redis_server
    return servers.redis_server(folder.name, folder, port, password, server=server, config=config)


def _start_s3(
    supervisor: Supervisor, folder: Path, own: Installation, origin: str
) -> Callable[[], None]:
    program = servers.s3_server(folder, own.s3_port, own.s3_key, own.s3_secret, origin)
    supervisor.start(program, probes.http_server(f"{own.s3_url}/"))
    is_listening = partial(_is_listening, own.s3_port)
    return partial(supervisor.wait_for, program.name, is_listening, S3_READY_S)


def _remove_unfinished(folder: Path, before_s: float, report: Callable[[str], None]) -> None:
    if removed := servers.remove_unfinished(folder, before_s):
        report(f"unfinished uploads of an earlier run removed: {removed}")


def _answers_ping(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True
