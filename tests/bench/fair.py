"""make bench-fair: what a photo waits behind another user's 500, and how two users share.

Beside plain first come, first served in the same run: the same installation, in which all users
are one flow, nothing has priority, and nothing bounds what waits in front of the device. Both
sides have two web processes; the device takes 60 ms a run. A wait is counted in runs: how many
others' models began between a job's claim and its own model.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import redis
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import REPOSITORY, Stack

from storage import keys
from storage.redis.scripts import source

MANY = setting("JOBS", 500, "jobs of the other user")
EACH = MANY * 3 // 10
"""Jobs of each of two users."""
WINDOW = EACH * 2 // 3
"""Runs after the second user's first, of which each should get half."""
PHOTOS = {"fair": 20, "fifo": 3}
DEVICE_MS = 60
LOOPS = 20_000
FIFO = """
import web.fair_share
from web.jobs import credits
from web.jobs.submission import FairShare

web.fair_share.share_of = lambda identity: FairShare("everybody")
credits.runs = lambda catalogue: dict.fromkeys(catalogue.models, 100_000)

from web.__main__ import main
main()
"""
PHOTO = REPOSITORY / "examples" / "chelsea.jpg"
MODELS = Path(__file__).parent / "models"

Figures = dict[str, float]


def main() -> None:
    parser(__doc__).parse_args()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("fair", "fifo"):
            with _side(Path(folder) / side, side) as bench:
                measured = bench.one_photo() | bench.two_users()
                if side == "fair":
                    measured |= bench.cost()
                print(side, {name: round(value, 3) for name, value in measured.items()}, flush=True)
                figures |= {f"{side}_{name}": round(value, 3) for name, value in measured.items()}
    _report(figures)
    save("fair", figures)


def _report(figures: Figures) -> None:
    header = ["", "photo waits p50 runs", "p95 runs", "p50 ms", "p95 ms", "shares of two users"]
    rows = [
        [
            side,
            *(f"{figures[f'{side}_{name}']:g}" for name in ("p50_runs", "p95_runs")),
            *(f"{figures[f'{side}_{name}']:.0f}" for name in ("p50_ms", "p95_ms")),
            f"{figures[f'{side}_first_share']:.0%} and {1 - figures[f'{side}_first_share']:.0%}",
        ]
        for side in ("fair", "fifo")
    ]
    show(
        f"another user has {MANY} jobs waiting; the device takes {DEVICE_MS} ms a run", header, rows
    )
    cost, job = figures["fair_order_us"], figures["fair_job_ms"]
    print(
        f"\nfair order costs {cost:.1f} us of Redis' CPU per run; a job takes {job:.2f} ms of CPU\n"
    )
    verdict("photo behind another user's jobs, p95 wait in runs", figures["fair_p95_runs"], 2)
    apart = abs(2 * figures["fair_first_share"] - 1)
    verdict("two users, how far their shares are from equal", round(apart, 3), 0.1)
    verdict("cost of fair order, share of a job's CPU", round(cost / job / 1000, 4), 0.03)


class Bench:
    """One side: its users, and the log of its device."""

    def __init__(self, stack: Stack, webs: list[str], side: str, log: Path) -> None:
        self.stack, self.side, self.log = stack, side, log
        self.salts = count(1)
        self.users = [httpx.Client(base_url=url, timeout=300) for url in (*webs, webs[0])]
        for user in self.users:
            user.get("/api/v1/models")
        self.uploads = [self._upload(user) for user in self.users]

    def one_photo(self) -> Figures:
        """Photos, one after another, while somebody else's jobs wait."""
        for _ in range(MANY):
            self._submit(0, "batch")
        priority = "interactive" if self.side == "fair" else "batch"
        waits: list[tuple[int, float]] = []
        if self.side == "fair":
            waits = [self._waited(*self._submit(1, priority, 60)) for _ in range(PHOTOS["fair"])]
        else:  # the first of them waits for all
            asked = [self._submit(1, priority) for _ in range(PHOTOS["fifo"])]
            self._until(lambda: all(salt in self._begun() for salt, _ in asked))
            waits = [self._waited(*one) for one in asked]
        self._until(self._is_idle)
        runs, ms = (sorted(column) for column in zip(*waits, strict=True))
        return {
            "p50_runs": runs[len(runs) // 2], "p95_runs": runs[int(len(runs) * 0.95)],
            "p50_ms": ms[len(ms) // 2], "p95_ms": ms[int(len(ms) * 0.95)],
        }  # fmt: skip

    def two_users(self) -> Figures:
        """What part of the runs the first of two batch users gets once the second has come."""
        first = {self._submit(0, "batch")[0] for _ in range(EACH)}
        second = [self._submit(1, "batch") for _ in range(EACH)]
        self._until(self._is_idle)
        claimed = self._claimed_ms(second[0][1])
        since = [salt for salt, at in self._begun().items() if at > claimed][:WINDOW]
        return {"first_share": Counter(salt in first for salt in since)[True] / len(since)}

    def cost(self) -> Figures:
        """CPU of a job in all processes, and what the fair order costs Redis per run."""
        names = ("web", "web-2", "cpu-worker", "gpu-worker", "state")
        names = tuple(name for name in names if name in self.stack.processes)
        before = self.stack.cpu_s(*names)
        for _ in range(EACH):
            self._submit(0, "batch")
        self._until(self._is_idle)
        job_ms = (self.stack.cpu_s(*names) - before) * 1000 / EACH
        return {"job_ms": job_ms, "order_us": _order_us(self.stack.state)}

    def _upload(self, user: httpx.Client) -> str:
        """An upload of this user's, for jobs to name."""
        path = f"/api/v1/predict/ordered?salt={next(self.salts)}&wait=60"
        job = user.post(path, content=PHOTO.read_bytes()).raise_for_status().json()["id"]
        return (self.stack.state.hget(keys.job(job), "upload") or b"").decode()

    def _submit(self, user: int, priority: str, wait_s: float = 0) -> tuple[int, str]:
        """A job's salt and id."""
        salt = next(self.salts)
        job = {
            "upload": self.uploads[user], "model": "ordered", "priority": priority,
            "params": {"salt": salt},
        }  # fmt: skip
        answer = self.users[user].post(f"/api/v1/jobs?wait={wait_s:g}", json=job)
        return salt, answer.raise_for_status().json()["id"]

    def _begun(self) -> dict[int, float]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return {int(salt): float(at) for salt, at in map(str.split, lines)}

    def _claimed_ms(self, job: str) -> float:
        return float(self.stack.state.hget(keys.job(job), "created") or 0)

    def _waited(self, salt: int, job: str) -> tuple[int, float]:
        """For how many runs and ms."""
        begun, claimed = self._begun(), self._claimed_ms(job)
        return sum(claimed < at < begun[salt] for at in begun.values()), begun[salt] - claimed

    def _is_idle(self) -> bool:
        return not self.stack.state.zcard(keys.ACTIVE)

    def _until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not true():
            if time.monotonic() > end:
                raise TimeoutError("the jobs did not end in 300 s")
            time.sleep(0.05)


@contextmanager
def _side(folder: Path, side: str) -> Iterator[Bench]:
    folder.mkdir(parents=True)
    log = folder / "order"
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-", dir="/dev/shm") as memory:
        env = {
            "ORDERED_LOG": str(log),
            "ORDERED_MS": str(DEVICE_MS),
            "PIXELMILL_MODELS": "ordered",
            "PIXELMILL_MODEL_PATHS": str(MODELS),
            "PIXELMILL_CPU_PROCESSES": "2",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_MAX_IN_FLIGHT": "100000",
            "PIXELMILL_S3_URL": f"file://{memory}",
        }
        with Stack(folder, env) as stack:
            if side == "fifo":
                stack.web_command = [sys.executable, "-c", FIFO]
            webs = [stack.start_all().url, stack.start_another_web()]
            log.unlink(missing_ok=True)  # of the warm-up
            yield Bench(stack, webs, side, log)


def _order_us(state: "redis.Redis") -> float:
    """CPU of the state Redis for what the fair order does per run: a tag, and the virtual time."""
    own = source("shared_lua/fair")[0]
    loop = (
        f"{own}\nlocal flow = 'flow-' .. ARGV[2]\n"
        "for i = 1, tonumber(ARGV[3]) do {body} end\nreturn 1"
    )
    spent = {}
    for name, body in (
        ("fair", "advance('bench', tonumber(new_tag('bench', flow, 1)))"),
        ("no", ""),
    ):
        before = _redis_cpu_s(state)
        for turn in range(LOOPS // 100):  # short scripts, as others wait
            argument = '{"run_ttl_ms": 60000}'
            state.eval(loop.replace("{body}", body), 0, argument, str(turn), "100")
        spent[name] = _redis_cpu_s(state) - before
    return (spent["fair"] - spent["no"]) * 1e6 / LOOPS


def _redis_cpu_s(state: "redis.Redis") -> float:
    info = state.info("cpu")
    return float(info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"])


if __name__ == "__main__":
    main()
