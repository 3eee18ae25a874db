"""A picture that takes too long in a stage fails with a sentence, and hurts nobody else."""

import io
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import MODEL_PATHS, Stack

from tasks.errors import ModelFailure
from tasks.time_limit import shared_timer, time_limit

LIMIT_S = 1.0


def busy(seconds: float) -> None:
    """What a slow plug-in does: Python, forgiving all errors."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(Exception):
            time.sleep(0.01)


@pytest.mark.measures_time
def test_what_takes_too_long_is_interrupted_soon() -> None:
    began = time.monotonic()

    with pytest.raises(ModelFailure) as caught, time_limit(0.1):
        busy(20)

    assert (caught.value.code, caught.value.lasting) == ("timeout", False)
    assert "0.1 s" in str(caught.value)
    assert time.monotonic() - began < 10


def test_what_is_done_in_time_is_left_alone() -> None:
    with time_limit(0.2):
        busy(0.01)

    time.sleep(0.3)


def test_an_error_of_the_work_stays_what_it_is() -> None:
    with pytest.raises(KeyError), time_limit(10):
        raise KeyError("own")


def test_an_alarm_of_somebody_else_still_comes() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    before = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with time_limit(10):
            busy(0.01)
        busy(0.5)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)

    assert rung == [signal.SIGALRM]


def test_the_handler_of_somebody_else_is_put_back() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGALRM, own)
    try:
        with time_limit(10):
            during = signal.getsignal(signal.SIGALRM)
        after = signal.getsignal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert during is not own
    assert after is own


@pytest.mark.measures_time
def test_of_many_each_has_its_own_time() -> None:
    began = time.monotonic()

    with shared_timer():
        for _ in range(10):  # together longer than any may take
            with time_limit(0.3):
                busy(0.1)
        with pytest.raises(ModelFailure), time_limit(0.3):
            busy(20)
        with time_limit(10):
            busy(0.01)

    assert time.monotonic() - began < 15


def test_what_lies_between_two_is_not_interrupted() -> None:
    with shared_timer():
        with time_limit(0.1):
            busy(0.01)
        time.sleep(0.3)
        with pytest.raises(ModelFailure), time_limit(0.1):
            busy(20)


def test_a_thread_is_not_interrupted() -> None:
    ended = threading.Event()

    def work() -> None:
        with time_limit(0.05):
            busy(0.2)
        ended.set()

    threading.Thread(target=work).start()

    assert ended.wait(10)


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One cpu process, and a limit that a test can wait for."""
    env = {
        "PIXELMILL_MODELS": "slow",
        "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_STAGE_LIMIT_S": str(LIMIT_S),
    }
    with Stack(tmp_path_factory.mktemp("overtime"), env) as mill:
        mill.start_all()
        yield mill


def ask(mill: Stack, **params: float) -> dict[str, Any]:
    out = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(out, "PNG")
    answer = httpx.post(
        f"{mill.url}/api/v1/predict/slow",
        params={"wait": 60, **params},
        content=out.getvalue(),
        headers={"Authorization": f"Bearer {mill.api_key}"},
        timeout=90,
    )
    return dict(answer.json())


@pytest.mark.measures_time
@pytest.mark.parametrize("stage", ["prepare_s", "conclude_s"])
def test_a_slow_picture_fails_alone_and_its_process_works_on(mill: Stack, stage: str) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:  # behind it, and in part in its message
        slow = pool.submit(ask, mill, salt=1, **{stage: 20})
        others = [pool.submit(ask, mill, salt=salt, **{stage: 0}) for salt in range(2, 9)]
    took_s = time.monotonic() - began

    error = slow.result()["error"]
    assert (slow.result()["state"], error["code"]) == ("failed", "timeout")
    assert f"{LIMIT_S:g} s" in error["message"] and error["hint"]
    assert {other.result()["state"] for other in others} == {"done"}
    assert took_s < 20, "nobody waited for the whole of it"


def test_the_picture_may_be_tried_again(mill: Stack) -> None:
    first, second = (ask(mill, salt=1, prepare_s=19) for _ in range(2))

    assert [first["error"]["code"], second["error"]["code"]] == ["timeout", "timeout"]
    assert not second["cached"], "a busy machine may have been the reason"
