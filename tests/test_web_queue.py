"""Places in line, estimates and refusals as programs see them, with two web processes."""

import io
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import Stack

from storage import keys

SLOW = """
import time
import numpy as np
from tasks.models.base import Model, Output, Params

class Salt(Params):
    salt: int = 0

def infer(session, batch):
    time.sleep(0.3 + 0.05 * len(batch))
    return batch

MODEL = Model(
    title="Slow", kind="labels", params=Salt, load=lambda weights, device: None,
    preprocess=lambda image, params: np.zeros((3, 8, 8), np.float32), infer=infer,
    postprocess=lambda output, image, params, wanted: Output(data={}),
    bins=((8, 8),), max_batch=4, decode="none",
)
"""
BATCH = 4


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One slow model; 20 runs of one user at a time; 4 s of waiting at most."""
    models = tmp_path_factory.mktemp("models")
    (models / "slow.py").write_text(SLOW)
    env = {
        "PIXELMILL_MODELS": "slow",
        "PIXELMILL_MODEL_PATHS": str(models),
        "PIXELMILL_MAX_IN_FLIGHT": "20",
        "PIXELMILL_MAX_WAIT_INTERACTIVE_S": "4",
        "PIXELMILL_CPU_PROCESSES": "1",
    }
    with Stack(tmp_path_factory.mktemp("line"), env) as mill:
        mill.start_all()
        yield mill


@pytest.fixture(scope="module")
def webs(mill: Stack) -> list[str]:
    """The addresses of two web processes."""
    return [mill.url, mill.start_another_web()]


salts = itertools.count()


@pytest.fixture
def photo() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def ada(mill: Stack) -> Iterator[httpx.Client]:
    """Somebody new; what was asked for by others is done."""
    with httpx.Client(base_url=mill.url, timeout=60) as client:
        mill.wait_for("web", lambda: mill.state.zcard(keys.ACTIVE) == 0, 30)
        client.get("/api/v1/models")
        yield client


def ask(client: httpx.Client, photo: bytes, wait: float = 0) -> httpx.Response:
    query = {"wait": wait, "salt": next(salts)}
    return client.post("/api/v1/predict/slow", content=photo, params=query)


@pytest.mark.measures_time
def test_places_and_estimates_are_told_alike_by_all_web_processes(
    webs: list[str], ada: httpx.Client, photo: bytes
) -> None:
    ask(ada, photo, wait=30)
    jobs = [ask(ada, photo).json()["id"] for _ in range(16)]

    seen: list[list[dict[str, float]]] = []
    while True:
        now = time.monotonic()
        looks = [
            [ada.get(f"{web}/api/v1/jobs/{jobs[at]}").json() for at in (7, 15)] for web in webs
        ]
        seen.append([{**look, "at": now} for look in itertools.chain(*looks)])
        if all(look["state"] == "done" for look in seen[-1]):
            break
        time.sleep(0.05)

    last = [looks[1] for looks in seen]
    positions = [look["position"] for look in last if look["position"] is not None]
    ended_s = seen[-1][0]["at"]
    errors_s = [look["eta_s"] - (ended_s - look["at"]) for look in last if look["eta_s"]]
    print("positions", positions)
    print("estimate - truth, s", [round(error, 2) for error in errors_s])
    assert positions == sorted(positions, reverse=True), "a place only falls"
    assert abs(np.mean(errors_s)) < 0.5 and max(map(abs, errors_s)) < 1.5
    for eighth, sixteenth, eighth_2, sixteenth_2 in seen:
        both = [look["position"] for look in (sixteenth, sixteenth_2) if look["position"]]
        assert len(both) < 2 or both[0] - both[1] in range(BATCH * 2), "milliseconds apart"
        assert (eighth["eta_s"] or 0) <= (sixteenth["eta_s"] or np.inf)
        assert (eighth_2["eta_s"] or 0) <= (sixteenth_2["eta_s"] or np.inf)


def test_a_user_with_too_much_under_way_is_told_limit_value_and_time(
    mill: Stack, ada: httpx.Client, photo: bytes
) -> None:
    answers = [ask(ada, photo) for _ in range(32)]  # a few end meanwhile

    refused = next(answer for answer in answers if answer.status_code != 202)
    error = refused.json()["error"]
    assert refused.status_code == 429 and answers.index(refused) >= 20
    assert (error["code"], error["limit"], error["value"]) == ("busy", "max_in_flight", 20)
    assert error["message"] == "20 of your runs are under way; the limit is 20"
    assert int(refused.headers["retry-after"]) == error["retry_after_s"] >= 1
    time.sleep(error["retry_after_s"])
    assert ask(ada, photo).status_code == 202, "as it was told"


def test_a_line_that_is_too_long_refuses_new_work_only(
    mill: Stack, ada: httpx.Client, photo: bytes
) -> None:
    """4 s are eight batches of four."""
    done = ask(ada, photo, wait=30).request.url
    waiting: list[httpx.Response] = []
    while len(waiting) < 200 and not any(answer.status_code == 429 for answer in waiting):
        with httpx.Client(base_url=mill.url, timeout=60) as somebody, ThreadPoolExecutor(8) as pool:
            somebody.get("/api/v1/models")
            waiting += pool.map(lambda _: ask(somebody, photo), range(17))
    under_way = mill.state.zcard(keys.ACTIVE)

    accepted = [answer for answer in waiting if answer.status_code == 202]
    error = next(answer for answer in waiting if answer.status_code == 429).json()["error"]
    print(len(accepted), "accepted,", under_way, "under way:", error["message"])
    assert (error["limit"], error["value"]) == ("max_wait_interactive_s", 4)
    assert len(accepted) >= 32 and under_way <= 48
    assert ada.post(done, content=photo).json()["cached"], "a hit is never refused"


@pytest.mark.measures_time
def test_a_refusal_is_quick(mill: Stack, ada: httpx.Client, photo: bytes) -> None:
    took_s: dict[int, list[float]] = {202: [], 429: []}
    for _ in range(60):
        began = time.monotonic()
        status = ask(ada, photo).status_code
        took_s[status].append(time.monotonic() - began)

    assert len(took_s[429]) > 10 and np.median(took_s[429]) < 0.25
