"""make bench-days: twelve days of work in a few minutes: does anything grow that should not?

A day is BENCH_DAY_S seconds long: uploads and idempotency keys live for one, results and jobs for
seven, as by default. Half of the jobs are one user's; most are hits, some join, some run, some are
deleted, cancelled or expire, and some uploads never get a job. What there is by the end of each day
is counted. From the ninth day on as much goes as comes, so what is there in the last days may be a
quarter more than in the first of those (days differ by that, with what this machine manages) and a
little (SLACK), but not more.
"""

import io
import json
import os
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import redis
from load import closed_loop, request
from options import parser, setting
from PIL import Image
from short_days import ShortDays
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from processes import tree
from stack import API_KEY

from deploy.local import servers
from storage import api_keys
from storage.redis import calls

DAY_S = setting("DAY_S", 75.0, "seconds of a day")
DAYS = setting("DAYS", 12, "days")
JOBS = setting("JOBS", 200_000, "jobs of all days")
RESULT_DAYS = 7
FIRST_DAY = RESULT_DAYS + 2
"""By its end results and jobs go, which live longest."""
USERS = 20
CLIENTS = 16
TOLERANCE = 1.25
SLACK = {"keys": 200, "MB": 12, "files": 200}
TOLD = ("state memory MB", "state AOF MB", "logs MB", "web RSS MB")
"""What is printed of each day at once."""
HERE = Path(__file__).parent
PROCESSES = ("web", "cpu-worker", "gpu-worker", "state", "cache", "s3")


class TenDays(ShortDays):
    """Servers as `pixelmill up` sets them, and twenty users."""

    def start_servers(self) -> None:
        self.start_redis("state", *_options(servers.STATE_CONFIG))
        self.start_redis("cache", *_options(servers.CACHE_CONFIG))
        self.start_s3()
        link = calls.SyncRedis(self.state)
        link.do(api_keys.add(API_KEY, "tester"))
        for number in range(USERS):
            link.do(api_keys.add(f"key-{number}", f"user-{number}"))


class Day:
    """One day's traffic."""

    def __init__(self, stack: TenDays, number: int) -> None:
        self.stack, self.number = stack, number
        self.client = httpx.Client(base_url=f"{stack.url}/api/v1", timeout=60)
        self.uploads = {key: self._upload(key) for key in _keys()}
        self.done: Counter[str] = Counter()

    def live(self) -> None:
        """Let the day pass."""
        end = time.monotonic() + DAY_S
        crowd = threading.Thread(target=self._crowd, args=(DAY_S * 0.85,))
        crowd.start()
        while time.monotonic() < end:
            self._something_odd()
        crowd.join()
        self.client.close()

    def _crowd(self, seconds: float) -> None:
        url = f"{self.stack.url}/api/v1/jobs"
        answers = closed_loop(
            url, self._requests(url), clients=CLIENTS, seconds=seconds, most=JOBS // DAYS
        )
        self.done["jobs"] += len(answers.latencies_ms)
        self.done.update({f"status {code}": n for code, n in answers.statuses.items()})

    def _requests(self, url: str) -> Iterator[bytes]:
        """Mostly hits and joins: five requests of each user a day, over and over; some runs."""
        while True:
            key = API_KEY if random.random() < 0.5 else f"key-{random.randrange(USERS)}"
            is_new = random.random() < 0.03
            salt = random.randrange(10**9) if is_new else self.number * 1000 + random.randrange(5)
            body = {"upload": self.uploads[key], "model": "noop", "params": {"salt": salt}}
            yield request(url, {**_headers(key), "Content-Type": "application/json"},
                          json.dumps(body).encode())  # fmt: skip

    def _something_odd(self) -> None:
        key = random.choice(_keys())
        random.choice(
            [self._delete, self._cancel, self._expire, self._upload_alone, self._sign_alone,
             self._once]
        )(key)  # fmt: skip

    def _predict(self, key: str, **asked: Any) -> str:
        """The id of a job of new bytes."""
        query = {"wait": 0, "salt": random.randrange(10**9), **asked}
        headers = _headers(key) | asked.pop("headers", {})
        query.pop("headers", None)
        answer = self.client.post("/predict/noop", content=_photo(), params=query, headers=headers)
        self.done["odd"] += 1
        return str(answer.json().get("id", ""))

    def _delete(self, key: str) -> None:
        job = self._predict(key, wait=5)
        self.client.delete(f"/jobs/{job}", headers=_headers(key))

    def _cancel(self, key: str) -> None:
        self.client.post(f"/jobs/{self._predict(key)}/cancel", headers=_headers(key))

    def _expire(self, key: str) -> None:
        self._predict(key, deadline_s=0.001)

    def _once(self, key: str) -> None:
        self._predict(key, headers={"Idempotency-Key": secrets.token_hex(8)})

    def _upload_alone(self, key: str) -> None:
        self._upload(key)

    def _sign_alone(self, key: str) -> None:
        self._sign(key, len(_photo()))

    def _upload(self, key: str) -> str:
        photo = _photo()
        place = self._sign(key, len(photo))
        sent = self.client.put(place["url"], content=photo, headers=place["headers"])
        sent.raise_for_status()
        return str(place["id"])

    def _sign(self, key: str, size: int) -> dict[str, Any]:
        asked = {"size": size, "type": "image/png"}
        answer = self.client.post("/uploads", json=asked, headers=_headers(key))
        answer.raise_for_status()
        return dict(answer.json()["upload"])


def main() -> None:
    parser(__doc__).parse_args()
    env = {
        "PIXELMILL_MODELS": "noop",
        "PIXELMILL_MODEL_PATHS": str(HERE / "models"),
        "PIXELMILL_CPU_PROCESSES": "2",
        "BENCH_DAY_S": str(DAY_S),  # for short_days.py
        "PIXELMILL_UPLOAD_TTL_S": str(int(DAY_S)),
        "PIXELMILL_RESULT_TTL_S": str(int(RESULT_DAYS * DAY_S)),
    }
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        env["PIXELMILL_SCRATCH_DIR"] = str(scratch)
        with TenDays(Path(folder), env).start_all() as stack:
            days = [_day(stack, number) for number in range(1, DAYS + 1)]
    _report([seen for _, seen in days], sum(jobs for jobs, _ in days))


def _day(stack: TenDays, number: int) -> tuple[int, dict[str, float]]:
    """How many jobs were asked for, and what there is in the end."""
    day = Day(stack, number)
    day.live()
    seen = seen_of(stack)
    done = ", ".join(f"{name}: {count}" for name, count in sorted(day.done.items()))
    sizes = ", ".join(f"{name} {_number(seen[name])}" for name in TOLD)
    print(f"day {number}: {done}; {sizes}", flush=True)
    return day.done["jobs"] + day.done["odd"], seen


def seen_of(stack: TenDays) -> dict[str, float]:
    """Everything that may grow: what it is, with its unit -> how much of it there is."""
    seen: dict[str, float] = {}
    for name in ("state", "cache"):
        client = stack.client(name)
        kinds = Counter(_kind(key.decode()) for key in client.scan_iter(count=1000))
        seen |= {f"{name} {kind} keys": count for kind, count in kinds.items()}
        seen[f"{name} memory MB"] = _mb(client.info("memory")["used_memory"])
    seen |= _entries(stack.state)
    seen["state AOF MB"] = _mb(_aof_bytes(stack.state))
    for name in PROCESSES:
        seen[f"{name} RSS MB"] = _mb(_rss(stack.processes[name].pid))
    for place in ("in", "out"):
        files = _files(stack.folder / "s3" / "pixelmill" / place)
        seen |= {f"S3 {place} files": len(files), f"S3 {place} MB": _mb(sum(files))}
    seen["logs MB"] = _mb(sum(path.stat().st_size for path in stack.folder.glob("*.log")))
    seen["scratch files"] = len(_files(Path(stack.env["PIXELMILL_SCRATCH_DIR"])))
    return seen


def _entries(client: "redis.Redis") -> dict[str, float]:
    """What is in the sorted sets and sets that have one entry per job, run or user."""
    counts: Counter[str] = Counter()
    for kind, command in (("zset", "ZCARD"), ("set", "SCARD")):
        names = list(client.scan_iter(count=1000, _type=kind))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.execute_command(command, name)
        for name, number in zip(names, pipeline.execute(), strict=True):
            counts[f"entries of {_kind(name.decode())} keys"] += int(number)
    return dict(counts)


def _report(days: list[dict[str, float]], jobs: int) -> None:
    names = sorted({name for day in days for name in day})
    rows = [[name, *(_number(day.get(name, 0)) for day in days)] for name in names]
    numbers = [str(number + 1) for number in range(len(days))]
    show(f"by the end of each day of {DAY_S:g} s", ["what", *numbers], rows)
    figures: dict[str, float] = {"jobs": jobs}
    grew = []
    for name in names:
        early, late = _early_and_late([day.get(name, 0) for day in days])
        figures |= {f"{name} early": round(early, 2), f"{name} late": round(late, 2)}
        if late > early * TOLERANCE + SLACK[name.rsplit(" ", 1)[1]]:
            grew.append(f"{name}: {early:.1f} -> {late:.1f}")
    print(*grew, sep="\n")
    verdict("jobs", jobs, JOBS, at_most=False)
    verdict(f"kinds that grow, of {len(names)}", len(grew), 0)
    save("days", figures | {"kinds_that_grow": len(grew)})


def _early_and_late(values: list[float]) -> tuple[float, float]:
    """Means of the first and the last third of the days from the first that counts."""
    settled = values[FIRST_DAY - 1 :] or values[-1:]
    third = max(1, len(settled) // 3)
    return mean(settled[:third]), mean(settled[-third:])


def _number(count: float) -> str:
    return f"{count:.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"


def _options(config: str) -> Iterator[str]:
    """The lines of a configuration as options of a command line."""
    for name, value in (line.split(maxsplit=1) for line in config.splitlines() if line.strip()):
        if name != "#":
            yield from (f"--{name}", value)


def _keys() -> list[str]:
    return [API_KEY, *(f"key-{number}" for number in range(USERS))]


def _headers(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _photo() -> bytes:
    """A picture that nobody has sent before."""
    out = io.BytesIO()
    Image.frombytes("RGB", (24, 24), secrets.token_bytes(24 * 24 * 3)).save(out, "PNG")
    return out.getvalue()


def _kind(key: str) -> str:
    """`px3:job:1234` is a job; of the broker's keys the name counts, up to what is random."""
    words = key.split(":")
    return words[1] if words[1:2] != ["q"] else f"queue {words[2].split('.')[0][:20]}"


def _aof_bytes(client: "redis.Redis") -> int:
    return int(client.info("persistence").get("aof_current_size", 0))


def _rss(pid: int) -> int:
    return sum(member.memory_info().rss for member in tree(pid))


def _files(folder: Path) -> list[int]:
    """Bytes of each file."""
    sizes = []
    for at, _, names in os.walk(folder):  # says nothing of folders that are removed meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append(Path(at, name).stat().st_size)
    return sizes


def _mb(count: float) -> float:
    return round(count / 1e6, 2)


if __name__ == "__main__":
    main()
