"""make hosts: an installation on ten hosts (network namespaces) comes to harm, and nobody notices.

nginx with TLS, two web processes, two cpu and two gpu workers, Redis and S3 are on hosts of their
own, each with its own /dev/shm, so that arrays cross hosts. While jobs are in flight, one of each
is killed, a link goes down for ten seconds, and a host joins. A browser outside of all hosts sends
photos while web processes die.

--rolling REV  instead replaces all processes of that commit by those of this one, one by one
--scale        instead measures images/s of 1, 2, 4 and 8 gpu hosts, and CPU per image of each part;
               --write puts its tables into docs/scale.md
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harm import FAULTS
from installation import OWNERS, Installation
from network import Network
from visitor import send_photos

sys.path.insert(0, str(Path(__file__).parent.parent / "chaos"))
sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
from crowd import Crowd
from table import save, show

JOBS = 300
CLIENTS = 40
LOGS = Path("var/hosts")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rolling", metavar="REV", help="commit from which to upgrade")
    parser.add_argument("--scale", action="store_true", help="measure instead")
    parser.add_argument("--write", action="store_true", help="with --scale: write docs/scale.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-hosts-") as made:
        folder = Path(made)
        try:
            if chosen.scale:
                from scale import measure

                return measure(folder, write=chosen.write)
            if chosen.rolling:
                from rolling import upgrade

                return upgrade(folder, chosen.rolling)
            return break_things(folder)
        finally:
            _keep_logs(folder)


def break_things(folder: Path) -> int:
    """The faults, then the browser; 1 if anybody came to harm."""
    env = {
        "PIXELMILL_MODELS": "stamp,matting",
        "PIXELMILL_MODEL_PATHS": str(Path(__file__).parent.parent / "chaos" / "models"),
    }
    with Network() as network, Installation(network, folder, 2, env) as hosts:
        hosts.start_all(["cpu1", "cpu2", "gpu1", "gpu2"])
        crowd, seconds = asyncio.run(_under_load(hosts))
        arrays = int(hosts.client("scratch").info("commandstats")["cmdstat_set"]["calls"])
        strikes = [lambda: hosts.kill("web1"), lambda: _swap(hosts)]
        seen = send_photos(hosts.url, strikes, folder)
    return _report(crowd, seconds, arrays, seen)


async def _under_load(hosts: Installation) -> tuple[Crowd, dict[str, float]]:
    crowd = Crowd([hosts.url], list(OWNERS), CLIENTS, 0, verify=False)
    until, seconds = asyncio.Event(), {}
    clients = asyncio.create_task(crowd.run(until))
    for fault in FAULTS:
        began = time.monotonic()
        await asyncio.to_thread(fault, hosts)
        name = fault.__name__.replace("_", " ")
        seconds[name] = round(time.monotonic() - began, 1)
        print(f"{name}: {len(crowd.jobs)} jobs so far", flush=True)
    while len(crowd.jobs) < JOBS:
        await asyncio.sleep(0.2)
    until.set()
    await clients
    await crowd.inspect()
    return crowd, seconds


def _swap(hosts: Installation) -> None:
    """The killed web process is back, and the other one dies."""
    hosts.start_web("web1")
    hosts.kill("web2")


def _report(crowd: Crowd, seconds: dict[str, float], arrays: int, seen: dict[str, object]) -> int:
    lost = sum(job.is_lost for job in crowd.jobs)
    wrong = [job.wrong for job in crowd.jobs if job.wrong]
    ends = Counter(job.code or job.state for job in crowd.jobs)
    bad = {code: n for code, n in crowd.statuses.items() if code >= 500 and code != 503}
    longest = max(job.ended_at - job.accepted_at for job in crowd.jobs)
    photos = seen["seconds"]
    assert isinstance(photos, list)
    rows = [
        ["jobs", len(crowd.jobs), dict(ends)],
        ["lost", lost, ""],
        ["wrong bytes or answers", len(wrong), "; ".join(text[:80] for text in wrong[:3])],
        ["answers 5xx but 503", sum(bad.values()), bad or ""],
        ["answers 503", crowd.statuses[503], "tried again"],
        ["longest job", f"{longest:.1f} s", ""],
        ["arrays through the scratch Redis", arrays, ""],
        ["photos of the browser", len(photos), f"{photos} s, {seen['protocol']}"],
        ["errors of its page", len(seen["errors"]), seen["errors"] or ""],  # type: ignore[arg-type]  # a list
    ]
    show("hosts", ["", "", ""], rows)
    save("hosts", {
        "jobs": len(crowd.jobs), "lost": lost, "wrong": len(wrong), "done": ends["done"],
        "answers_5xx": sum(bad.values()), "answers_503": crowd.statuses[503],
        "longest_s": round(longest, 1), "arrays": arrays, "photos": len(photos),
        **{f"{name.replace(' ', '_')}_s": value for name, value in seconds.items()},
    })  # fmt: skip
    is_well = not (lost or wrong or bad or seen["errors"]) and arrays and len(photos) == 2
    return 0 if is_well and ends["done"] == len(crowd.jobs) else 1


def _keep_logs(folder: Path) -> None:
    """What all processes said, and what the browser showed, in a folder that stays."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for file in (*folder.glob("*.log"), *folder.glob("*.png"), *folder.glob("*.conf")):
        shutil.copy(file, LOGS)


if __name__ == "__main__":
    sys.exit(main())
