"""make bench-crash: jobs that are lost when the state Redis is killed at 200 jobs a second.

Jobs are accepted (the real claim, on the Valkey of these tests, AOF everysec) until the server is
killed (`kill -9`) in their middle. What it had answered must be there after its next start: it
gives each write to the kernel before it answers. A power cut also takes what the kernel has not
written to the disk by then: that is not measured here.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import runs
from options import parser, setting
from stack import Stack
from table import save, show, verdict

from storage import keys
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis

RATE = setting("RATE", 200, "jobs a second")
SECONDS = setting("SECONDS", 3.0, "until the kill")
ROUNDS = setting("ROUNDS", 5, "kills")
OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec")


def accept_until_killed(own: Stack) -> list[str]:
    """Ids of the jobs that were accepted before the server was killed."""
    link, began, ids = SyncRedis(own.state, "the state Redis"), time.monotonic(), []
    killer = threading.Timer(SECONDS, own.kill, ["state"])
    killer.start()
    try:
        while True:
            time.sleep(max(0.0, began + len(ids) / RATE - time.monotonic()))
            ids.append(runs.claim(link, f"user-{len(ids) % 50}").id)
    except StorageDown:
        killer.join()
        return ids


def main() -> None:
    """Measure and print it."""
    parser(__doc__).parse_args()
    accepted = lost = 0
    with Stack(Path(tempfile.mkdtemp())) as own:
        own.start_redis("state", *OPTIONS)
        for _ in range(ROUNDS):
            ids = accept_until_killed(own)
            own.start_redis("state", *OPTIONS)
            accepted += len(ids)
            lost += sum(not own.state.exists(keys.job(job)) for job in ids)
    rows = [[ROUNDS, accepted, lost]]
    show(f"kill -9 of Redis at {RATE} jobs/s, AOF everysec", ["kills", "accepted", "lost"], rows)
    verdict("accepted jobs that were lost", lost, 0)
    save("crash", {"accepted": accepted, "lost": lost})


if __name__ == "__main__":
    main()
