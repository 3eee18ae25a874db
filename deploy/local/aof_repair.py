"""Repairs the append-only file (AOF) of a state Redis that does not start because it is damaged.

A file that was only cut short needs no repair: Redis reads what is complete. If its middle is
damaged, the whole folder is copied, and Redis' own tool cuts off the file before the damage: the
changes after that place, mostly of jobs, are lost, while results are in S3. If its base is damaged,
nothing is touched, as a person has to decide. No copy is ever removed.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

FOLDER = "appendonlydir"
START = "oO0OoO0OoO0Oo"
"""Marks a start in Redis' log."""
READY = "Ready to accept connections"
DAMAGED = re.compile(r"reading the append only file (\S+?):")
DAMAGED_BASE = re.compile(r"Internal error in RDB|Wrong signature|RDB CRC error")
REPAIR_S = 300
"""How long Redis' tool may take."""


def repair(data: Path, server: str, log: str) -> str:
    """What is wrong with the AOF and what was done, or has to be done; "" if it is not the cause.

    `data` is the folder of the Redis, `server` its program, `log` the end of its log.
    """
    last_start = log.rpartition(START)[2]
    folder = data / FOLDER
    if READY in last_start or not folder.is_dir():
        return ""
    if DAMAGED_BASE.search(last_start):
        return (
            "the base of its append-only file is damaged. Nothing was changed. To begin with an "
            f"empty state, move {folder} away; `pixelmill restore FILE` brings accounts back"
        )
    damaged = DAMAGED.search(last_start)
    return _cut_off(data, folder / damaged[1], server) if damaged else ""


def _cut_off(data: Path, file: Path, server: str) -> str:
    copy = data / time.strftime("damaged-%Y-%m-%dT%H-%M-%S")
    try:
        shutil.copytree(data / FOLDER, copy)
        before_bytes = file.stat().st_size
        tool = subprocess.run(
            ["redis-check-aof", "--fix", str(file)],  # the server itself, under another name
            executable=server,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=REPAIR_S,
        )
        after_bytes = file.stat().st_size
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{file} is damaged inside and could not be repaired: {error}"
    if tool.returncode or after_bytes == before_bytes:
        reason = tool.stdout.strip().splitlines()[-1:] or ["redis-check-aof wrote nothing"]
        return f"{file} is damaged inside and could not be repaired: {reason[0]}"
    return (
        f"{file.name} was damaged inside: the last {before_bytes - after_bytes} of its "
        f"{before_bytes} bytes were cut off, and the changes in them are lost. "
        f"A copy of the files as they were is in {copy}"
    )
