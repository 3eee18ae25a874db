"""What is done when the state Redis does not start, as its append-only file is damaged.

A file that was cut off is no matter: Redis takes what is whole of it. One that is damaged inside is
copied, and cut off before the damage by Redis' own tool: what is lost are the changes after that
place, mostly of jobs; results lie in S3. Where the base itself is damaged nothing is touched: a
person decides. No copy is ever removed.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

FOLDER = "appendonlydir"
START = "oO0OoO0OoO0Oo"
READY = "Ready to accept connections"
INSIDE = re.compile(r"reading the append only file (\S+?):")
BASE = re.compile(r"Internal error in RDB|Wrong signature|RDB CRC error")
CHECK_S = 300


def mend(data: Path, server: str, log: str) -> str:
    """What is wrong with the file, and what was done or is to be done; empty: it is whole.

    `data` is the folder of the Redis, `server` its program, `log` the end of what it said.
    """
    said = log.rpartition(START)[2]  # since it was started last
    folder = data / FOLDER
    if READY in said or not folder.is_dir():
        return ""
    if BASE.search(said):
        return (
            f"the base of its append-only file is damaged. Nothing was changed. To begin with an "
            f"empty state, move {folder} away; accounts come back by `pixelmill restore FILE`"
        )
    inside = INSIDE.search(said)
    return _cut_off(data, folder / inside[1], server) if inside else ""


def _cut_off(data: Path, file: Path, server: str) -> str:
    copy = data / time.strftime("damaged-%Y-%m-%dT%H-%M-%S")
    try:
        shutil.copytree(data / FOLDER, copy)
        before = file.stat().st_size
        done = subprocess.run(
            ["redis-check-aof", "--fix", str(file)],  # the server itself, under another name
            executable=server,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=CHECK_S,
        )
        after = file.stat().st_size
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{file} is damaged inside, and could not be mended: {error}"
    if done.returncode or after == before:
        why = done.stdout.strip().splitlines()[-1:] or ["redis-check-aof said nothing"]
        return f"{file} is damaged inside, and could not be mended: {why[0]}"
    return (
        f"{file.name} was damaged inside: the last {before - after} of its {before} bytes were cut "
        f"off, and the changes in them are lost. A copy of all as it was is in {copy}"
    )
