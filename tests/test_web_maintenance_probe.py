"""A no-op job really goes through every stage, says where it is stuck, and leaves nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import API_KEY, MODEL_PATHS, Stack

from storage import api_keys, keys, users
from storage.redis.calls import SyncRedis
from web.maintenance.probe import USER

ADMIN_KEY = "key-of-an-admin"
STEPS = {"upload", "claim", "queue", "preprocess", "inference", "postprocess", "result"}
MODELS = {"toy", "noop"}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {"PIXELMILL_MODELS": ",".join(sorted(MODELS)), "PIXELMILL_MODEL_PATHS": MODEL_PATHS}
    with Stack(tmp_path_factory.mktemp("probe"), env) as mill:
        mill.start_all()
        link = SyncRedis(mill.state)
        link.do(users.set_password("ada", "secret"))
        link.do(users.set_password("bob", "secret", role="user"))
        for key, user in ((ADMIN_KEY, "ada"), ("key-of-bob", "bob")):
            link.do(api_keys.add(key, user))
        yield mill


def probe(mill: Stack, key: str = ADMIN_KEY, url: str = "", **query: Any) -> httpx.Response:
    return httpx.get(
        f"{url or mill.url}/readyz",
        params={"deep": 1, **query},
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=90,
    )


def state_keys(mill: Stack) -> set[str]:
    """All keys but those that each probe writes again and those that expire within minutes."""
    names = {key.decode() for name in ("state", "cache") for key in mill.client(name).keys("*")}
    return {key for key in names if "probe" in key}


def objects(mill: Stack) -> list[Path]:
    return [
        file for file in (mill.folder / "s3").rglob("*") if file.is_file() and USER in str(file)
    ]


def test_every_served_model_is_gone_through_and_each_step_is_timed(mill: Stack) -> None:
    answer = probe(mill)

    body = answer.json()
    assert answer.status_code == 200 and body["ok"], body
    assert set(body["probes"]) == MODELS
    for report in body["probes"].values():
        assert report["ok"] and not report["stuck"] and not report["reason"]
        assert set(report["ms"]) >= STEPS


def test_it_is_for_admins_only(mill: Stack) -> None:
    answers = {key: probe(mill, key).status_code for key in ("", "unknown", API_KEY, "key-of-bob")}
    login = httpx.post(f"{mill.url}/login", data={"user": "ada", "password": "secret"})
    by_cookie = httpx.get(f"{mill.url}/readyz?deep=1", cookies=dict(login.cookies), timeout=90)

    assert answers == {"": 401, "unknown": 401, API_KEY: 403, "key-of-bob": 403}
    assert by_cookie.status_code == 200
    assert httpx.get(f"{mill.url}/readyz").status_code == 200, "the plain one is for everybody"


def test_nothing_is_left_behind_and_no_number_shows_it(mill: Stack) -> None:
    assert probe(mill).status_code == 200

    left = state_keys(mill) - {keys.probed()}
    assert all(mill.state.ttl(key) > 0 for key in left), left
    assert not any("@probe" in key for key in left if ":run:" in key or ":job:" in key)
    assert objects(mill) == []
    numbers = httpx.get(f"{mill.url}/metrics").text
    assert "probe@" not in numbers
    assert {model["name"] for model in mill.models()} == MODELS


def test_those_who_ask_at_a_time_share_one_probe_on_all_web_processes(mill: Stack) -> None:
    other = mill.start_another_web()
    time.sleep(1.1)
    before = _taken(mill)
    probe(mill)
    with ThreadPoolExecutor(8) as pool:
        urls = [mill.url, other] * 4
        answers = list(pool.map(lambda url: probe(mill, url=url).json(), urls))

    assert all(answer["ok"] for answer in answers)
    assert _taken(mill) - before <= 2 * 2 * len(MODELS)


def _taken(mill: Stack) -> int:
    """Messages that the gpu worker has taken so far."""
    [worker] = list(mill.state.scan_iter(keys.worker("gpu*")))
    address = json.loads(mill.state.get(worker))["metrics"]
    text = httpx.get(f"http://{address}/metrics").text
    [line] = [item for item in text.splitlines() if 'messages_total{stage="inference"}' in item]
    return int(float(line.split()[-1]))


@pytest.mark.measures_time
def test_a_worker_that_answers_but_does_not_work_is_found_out(mill: Stack) -> None:
    """The gpu worker hangs; page, Redis and S3 answer as ever."""
    gpu = mill.processes["gpu-worker"].pid
    os.kill(gpu, signal.SIGSTOP)
    try:
        time.sleep(1.1)
        began = time.monotonic()
        answer = probe(mill, limit_s=4)
        took_s = time.monotonic() - began
    finally:
        os.kill(gpu, signal.SIGCONT)

    body = answer.json()
    assert answer.status_code == 503 and not body["ok"]
    for model, report in body["probes"].items():
        assert report["reason"] == "not through within 4 s"
        assert report["stuck"] == f"waiting for inference in the queue 'gpu.{model}'"
    assert took_s < 15
    time.sleep(1.1)
    assert probe(mill).status_code == 200, "it works again"
