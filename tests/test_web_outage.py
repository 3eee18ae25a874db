"""Every door, while a server behind it is killed or hangs: 503 and Retry-After in two seconds."""

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import Stack

from storage import catalogue
from storage.redis.calls import SyncRedis
from web.jobs.catalogue import MAX_AGE_S as CATALOGUE_AGE_S

LIMIT_S = 2.0
CROWD = 40
"""Users at a time; more than there are threads for S3."""
CARD = {
    "name": "toy", "title": "Toy", "kind": "labels", "params": {"properties": {}},
    "weights": "w", "weights_bytes": 0, "code": "c", "decode": "rgb", "licence": "",
    "intended_use": "", "fallback": None, "device": "cpu", "max_batch": 1,
    "cost_ms": {"a": 1.0, "b": 1.0},
}  # fmt: skip
OPTIONS = {"state": ("--appendonly", "yes"), "cache": ()}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with without_workers(tmp_path_factory.mktemp("outage")) as mill:
        yield mill


@contextmanager
def without_workers(folder: Path) -> Iterator[Stack]:
    """Servers and a web process; workers are announced and do nothing."""
    with Stack(folder) as mill:
        mill.start_servers()
        mill.start_web()
        stopping = threading.Event()
        announcer = threading.Thread(target=announce, args=(mill, stopping))
        announcer.start()
        mill.wait_for("web", lambda: [model for model in mill.models() if model["live"]])
        yield mill
        stopping.set()
        announcer.join()


def announce(mill: Stack, stopping: threading.Event) -> None:
    while not stopping.wait(1):
        try:
            with mill.state as client:
                link = SyncRedis(client)
                link.do(catalogue.announce("cpu@host", {"queues": ["cpu"]}, {}))
                link.do(catalogue.announce("gpu@host", {"queues": ["gpu.toy"]}, {"toy": CARD}))
        except Exception as error:  # the very outage that is tested
            print("not announced:", error)


@pytest.fixture
def client(mill: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {mill.api_key}"}
    with httpx.Client(base_url=mill.url, headers=headers, timeout=20) as client:
        yield client


@contextmanager
def outage(mill: Stack, server: str, how: str) -> Iterator[None]:
    """`server` is killed, or hangs, while the context lasts; it is well again after."""
    if how == "hangs":
        with mill.hanging(server):
            yield
        return
    mill.kill(server)
    try:
        yield
    finally:
        if server == "s3":
            mill.start_s3()
        else:
            mill.start_redis(server, *OPTIONS[server])


Door = Callable[[], httpx.Response]


@pytest.fixture
def doors(mill: Stack, client: httpx.Client, photo: bytes) -> dict[str, Door]:
    """Every way in that needs a server, by name; each call is new work."""
    is_well(client, photo)

    def fresh() -> bytes:
        return photo + time.time_ns().to_bytes(8, "big")

    def place() -> dict[str, Any]:
        answer = client.post("/api/v1/uploads", json={"size": len(photo)})
        return dict(answer.json()["upload"])

    signed, sent = place(), place()
    httpx.put(sent["url"], content=photo, headers=sent["headers"]).raise_for_status()
    job = client.post("/api/v1/predict/toy?wait=0", content=fresh()).json()
    get = mill.url + "/pixelmill/in/x?X-Amz-Signature=0"
    named = {"sha256": hashlib.sha256(fresh()).hexdigest(), "model": "toy"}
    predict = "/api/v1/predict/toy?wait=5"
    return {
        "predict": lambda: client.post(predict, content=fresh()),
        "predict, large": lambda: client.post(predict, content=fresh() + bytes(8_000_000)),
        "jobs by upload": lambda: client.post(
            "/api/v1/jobs", json={"upload": sent["id"], "model": "toy"}
        ),
        "jobs by hash": lambda: client.post("/api/v1/jobs", json=named),
        "uploads": lambda: client.post("/api/v1/uploads", json={"size": 5}),
        "job": lambda: client.get(f"/api/v1/jobs/{job['id']}"),
        "events": lambda: client.get(f"/api/v1/jobs/{job['id']}/events"),
        "models": lambda: client.get("/api/v1/models"),
        "ready": lambda: client.get("/readyz"),
        "sign-in": lambda: client.post("/login", data={"user": "ada", "password": "x"}),
        "put": lambda: httpx.put(signed["url"], content=photo, headers=signed["headers"]),
        "get": lambda: httpx.get(get),
    }


def is_well(client: httpx.Client, photo: bytes) -> None:
    """Return when work is taken again."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        data = photo + time.time_ns().to_bytes(8, "big")
        if client.post("/api/v1/predict/toy?wait=0", content=data).status_code == 202:
            return
        time.sleep(0.1)
    raise AssertionError("work is not taken again 20 s after the outage")


def said_no(door: Door) -> tuple[int, bool, str]:
    """Status, whether there is a Retry-After, and the error's code."""
    answer = door()
    code = answer.json()["error"]["code"]
    return answer.status_code, int(answer.headers["retry-after"]) > 0, code


def timed(door: Door) -> tuple[tuple[int, bool, str], float]:
    """What `said_no` tells of the door, and how long that took in seconds."""
    began = time.monotonic()
    said = said_no(door)
    return said, time.monotonic() - began


STATE_DOORS = (
    "predict", "predict, large", "jobs by upload", "jobs by hash", "uploads", "job", "events",
    "models", "sign-in",
)  # fmt: skip
S3_DOORS = ("predict", "predict, large", "jobs by upload", "put", "get")


@pytest.mark.measures_time
@pytest.mark.parametrize("how", ["killed", "hangs"])
@pytest.mark.parametrize(("server", "names"), [("state", STATE_DOORS), ("s3", S3_DOORS)])
def test_every_door_says_so_in_time(
    mill: Stack, doors: dict[str, Door], server: str, names: tuple[str, ...], how: str
) -> None:
    seen: dict[str, tuple[int, bool, str]] = {}
    took_s: dict[str, float] = {}

    with outage(mill, server, how):
        for name in names:
            if name == "models":
                time.sleep(CATALOGUE_AGE_S)  # until then it is answered from memory
            seen[name], took_s[name] = timed(doors[name])
            if took_s[name] > LIMIT_S:  # was it the machine, busy with other tests, or is it so?
                print(name, "took", took_s[name])
                seen[name], again_s = timed(doors[name])
                took_s[name] = min(took_s[name], again_s)
        began = time.monotonic()
        ready = doors["ready"]()
        took_s["ready"] = time.monotonic() - began

    print({name: round(seconds, 2) for name, seconds in took_s.items()})
    assert seen == dict.fromkeys(names, (503, True, "unavailable"))
    assert ready.status_code == 503 and len(ready.json()["down"]) == 1
    assert {name: seconds for name, seconds in took_s.items() if seconds > LIMIT_S} == {}


@pytest.mark.measures_time
@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_all_three_at_a_time_are_said_in_time(
    mill: Stack, doors: dict[str, Door], how: str
) -> None:
    with outage(mill, "s3", how), outage(mill, "cache", how), outage(mill, "state", how):
        began = time.monotonic()
        seen = said_no(doors["predict"])
        took_s = time.monotonic() - began

    assert seen == (503, True, "unavailable")
    assert took_s < LIMIT_S


@pytest.mark.measures_time
@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_without_the_cache_work_goes_on(mill: Stack, doors: dict[str, Door], how: str) -> None:
    with outage(mill, "cache", how):
        began = time.monotonic()
        answer = doors["jobs by upload"]()
        took_s = time.monotonic() - began

    assert answer.status_code == 202
    assert took_s < LIMIT_S


@pytest.mark.measures_time
@pytest.mark.parametrize("server", ["state", "s3"])
def test_a_crowd_is_told_so_in_time(
    mill: Stack, client: httpx.Client, photo: bytes, server: str
) -> None:
    is_well(client, photo)
    context = ssl.create_default_context()  # dear, and not the server's: made once for all

    def asked() -> tuple[int, float]:
        began = time.monotonic()
        data = photo + time.time_ns().to_bytes(8, "big")
        url = f"{mill.url}/api/v1/predict/toy"
        status = httpx.post(url, content=data, verify=context).status_code
        return status, time.monotonic() - began

    with outage(mill, server, "hangs"), ThreadPoolExecutor(CROWD) as crowd:
        futures = [crowd.submit(asked) for _ in range(CROWD)]
        seen = [future.result() for future in futures]

    assert {status for status, _ in seen} == {503}
    took_s = sorted(seconds for _, seconds in seen)
    print(f"p50 {took_s[CROWD // 2]:.2f} s, max {took_s[-1]:.2f} s")
    assert took_s[CROWD // 2] < LIMIT_S, "with all these clients in this very process"


@pytest.mark.parametrize("server", ["state", "s3"])
def test_work_is_taken_again_after(
    mill: Stack, doors: dict[str, Door], client: httpx.Client, photo: bytes, server: str
) -> None:
    with outage(mill, server, "hangs"):
        doors["predict"]()

    is_well(client, photo)


def test_no_answer_was_a_500(mill: Stack, tmp_path: Path) -> None:
    """The last of this file: whatever was asked above, the web process never broke."""
    log = (mill.folder / "web.log").read_text()

    assert "unhandled exception" not in log
    assert "Traceback" not in log
