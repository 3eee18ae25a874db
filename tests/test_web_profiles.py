"""`profile=quality` through the whole chain, and what comes when its worker is gone.

Needs the 168 MB of U-2-Net's weights. They are fetched only where PIXELMILL_PROFILES names
`matting:quality`; elsewhere the module is skipped unless they lie there already.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from stack import REPOSITORY, Stack

from tasks.errors import Unavailable
from tasks.models import registry, weights
from tasks.settings import names_in, settings

QUALITY = "matting:quality"
GOLDEN = REPOSITORY / "tests" / "golden"
WAIT_S = 60


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker of each kind; the gpu worker has both profiles."""
    folder = Path(os.environ["PIXELMILL_WEIGHTS_DIR"])
    is_asked_for = QUALITY in names_in(settings().profiles)
    try:
        for weight in registry.variant(QUALITY).weights.values():
            weights.fetch(weight, folder, download=is_asked_for)
    except Unavailable as error:
        if is_asked_for:
            raise
        pytest.skip(f"no weights of {QUALITY}, and PIXELMILL_PROFILES does not ask for it: {error}")
    env = {"PIXELMILL_MODELS": "matting", "PIXELMILL_PROFILES": QUALITY}
    with Stack(tmp_path_factory.mktemp("profiles"), env) as mill:
        yield mill.start_all()


def ask(mill: Stack, photo: str, wait_s: int = WAIT_S, **params: Any) -> dict[str, Any]:
    """The job of one of the golden photos."""
    answer = httpx.post(
        f"{mill.url}/api/v1/predict/matting",
        params={"wait": wait_s, **params},
        content=(GOLDEN / f"{photo}.jpg").read_bytes(),
        headers={"Authorization": f"Bearer {mill.api_key}"},
        timeout=WAIT_S + 30,
    )
    job: dict[str, Any] = answer.json()
    return job


def matte(mill: Stack, job: dict[str, Any]) -> np.ndarray[Any, Any]:
    """H x W uint8, from where the job says."""
    address = httpx.URL(mill.url).join(job["result"]["objects"]["alpha"]["url"])
    png = httpx.get(address).raise_for_status().content
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE))


def off(matte: np.ndarray[Any, Any], golden: str) -> float:
    """Mean difference from a golden matte, of 255."""
    expected = cv2.imread(str(GOLDEN / f"{golden}.png"), cv2.IMREAD_GRAYSCALE)
    assert expected is not None
    return float(np.abs(matte.astype(int) - expected.astype(int)).mean())


def test_quality_is_offered_where_it_is_loaded(mill: Stack) -> None:
    [model] = [card for card in mill.models() if card["name"] == "matting"]

    assert model["params"]["properties"]["profile"]["enum"] == ["fast", "quality"]


def test_each_profile_answers_with_its_own_matte(mill: Stack) -> None:
    fast, quality = (ask(mill, "astronaut", profile=name) for name in ("fast", "quality"))

    assert [job["state"] for job in (fast, quality)] == ["done", "done"]
    assert not fast["degraded"] and not quality["degraded"] and not quality["cached"]
    assert off(matte(mill, fast), "matting_astronaut") <= 0.5
    assert off(matte(mill, quality), "matting_quality_astronaut") <= 0.5
    assert off(matte(mill, quality), "matting_astronaut") > 0.5, "they can be told apart"


def test_a_worker_without_quality_answers_by_fast_and_says_so(mill: Stack) -> None:
    mill.kill("gpu-worker")
    job = ask(mill, "coffee", wait_s=0, profile="quality")
    plain = {"PIXELMILL_PROFILES": ""}
    mill.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"], plain)

    ended = {"state": job["state"]}

    def is_over() -> bool:
        answer = httpx.get(
            f"{mill.url}/api/v1/jobs/{job['id']}",
            headers={"Authorization": f"Bearer {mill.api_key}"},
        )
        ended.update(answer.json())
        return ended["state"] in ("done", "failed")

    mill.wait_for("gpu-worker", is_over)
    assert (ended["state"], ended["degraded"]) == ("done", True)
    assert off(matte(mill, ended), "matting_coffee") <= 0.5
