"""Nobody's many photos keep others waiting: in fair order, across two web processes."""

import io
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import Stack
from waiting import wait_until

from storage import keys

LOGGING = """
import time
from pathlib import Path
import numpy as np
from tasks.models.base import Model, Output, Params

class Salt(Params):
    salt: int = 0

def infer(session, batch):
    with Path({log!r}).open("a") as log:
        log.writelines(f"{{int(image[0, 0, 0])}} {{time.time() * 1000}}\\n" for image in batch)
    time.sleep(0.2)
    return batch

MODEL = Model(
    title="Slow", kind="labels", params=Salt, load=lambda weights, device: None,
    preprocess=lambda image, params: np.full((3, 8, 8), params.salt, np.float32), infer=infer,
    postprocess=lambda output, image, params, wanted: Output(data={{}}),
    bins=((8, 8),), max_batch=1, decode="none",
)
"""
MANY = 24


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each run its salt and when its model began, in ms, in that order."""
    return tmp_path_factory.mktemp("log") / "order"


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[Stack]:
    models = tmp_path_factory.mktemp("models")
    (models / "slow.py").write_text(LOGGING.format(log=str(log)))
    env = {
        "PIXELMILL_MODELS": "slow",
        "PIXELMILL_MODEL_PATHS": str(models),
        "PIXELMILL_CPU_PROCESSES": "2",
    }
    with Stack(tmp_path_factory.mktemp("shares"), env) as mill:
        mill.start_all()
        yield mill


@pytest.fixture(scope="module")
def webs(mill: Stack) -> list[str]:
    """The addresses of two web processes."""
    return [mill.url, mill.start_another_web()]


@pytest.fixture
def users(webs: list[str]) -> Iterator[list[httpx.Client]]:
    """Three new people, at the first, the second, and the first web process."""
    clients = [httpx.Client(base_url=url, timeout=60) for url in (*webs, webs[0])]
    for client in clients:
        client.get("/api/v1/models")
    yield clients
    for client in clients:
        client.close()


def photo() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


PHOTO = photo()
salts = itertools.count(1)


def ask(client: httpx.Client, *, priority: str, wait: float = 0) -> int:
    """A job; the salt by which the log knows it."""
    return submit(client, priority=priority, wait=wait)[0]


def submit(client: httpx.Client, *, priority: str, wait: float) -> tuple[int, str]:
    """A job's salt and id."""
    salt = next(salts)
    query = {"wait": wait, "salt": salt, "priority": priority}
    answer = client.post("/api/v1/predict/slow", content=PHOTO, params=query)
    assert answer.status_code in (200, 202), answer.text
    return salt, answer.json()["id"]


def begun(log: Path) -> dict[int, float]:
    """When each run's model began, in ms, by its salt."""
    lines = log.read_text().splitlines() if log.exists() else []
    return {int(salt): float(at) for salt, at in map(str.split, lines)}


def served(log: Path) -> list[int]:
    return list(begun(log))


def runs_before(mill: Stack, log: Path, client: httpx.Client, priority: str) -> int:
    """How many other runs' models begin between a job's claim and its own model."""
    salt, job = submit(client, priority=priority, wait=30)
    claimed, times = float(mill.state.hget(keys.job(job), "created") or 0), begun(log)
    return sum(claimed < at < times[salt] for at in times.values())


@pytest.mark.measures_time
def test_a_photo_starts_within_two_runs_however_many_another_user_has_waiting(
    mill: Stack, users: list[httpx.Client], log: Path
) -> None:
    many = {ask(users[0], priority="batch") for _ in range(MANY)}
    behind = [runs_before(mill, log, users[1], "interactive") for _ in range(5)]
    ended = served(log)

    assert not many <= set(ended), "the others were still waiting"
    assert max(behind) <= 2, behind
    wait_until(lambda: many <= set(served(log)), 60)


def test_two_users_of_one_priority_get_equal_shares_and_a_third_is_next(
    mill: Stack, users: list[httpx.Client], log: Path
) -> None:
    first = {ask(users[0], priority="batch") for _ in range(MANY)}
    second = {ask(users[1], priority="batch") for _ in range(MANY)}
    behind = runs_before(mill, log, users[2], "batch")
    wait_until(lambda: first | second <= set(served(log)), 60)

    order = [salt for salt in served(log) if salt in first | second]
    since = next(at for at, salt in enumerate(order) if salt in second)
    got = Counter(salt in first for salt in order[since : since + 2 * (MANY - since)])
    assert since < MANY // 2, "both were waiting"
    assert abs(got[True] - got[False]) <= 2, got
    assert behind <= 4
