"""Arrays between the stages that are gone when postprocess wants them: the run starts again."""

import io
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import REPOSITORY, Stack

from storage import keys
from storage.jobs.spec import RunRef, Spec
from storage.s3.objects import S3Objects
from tasks import clients, postprocess, preprocess, results
from tasks.settings import Settings
from tasks.work import ArrayGone, Work

pytest_plugins = ["inprocess"]


# On a whole installation


@contextmanager
def paused(stack: Stack, name: str) -> Iterator[None]:
    """The processes of this name stand still."""
    os.killpg(stack.processes[name].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(stack.processes[name].pid, signal.SIGCONT)


def arrays(stack: Stack, key: str) -> list[Path]:
    """The files of a run's arrays, of whatever attempt."""
    settings = Settings(secret=stack.env["PIXELMILL_SECRET"])
    return list(settings.scratch_dir.glob(f"pixelmill-{settings.installation}-{key[:32]}-*"))


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("gone", ["output", "image", "upload", ""], ids=lambda name: name or "all")
def test_a_job_whose_array_is_gone_before_postprocess_ends_well(stack: Stack, gone: str) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=60) as http:
        asked = http.post(
            f"/predict/slow?device_s=1&salt={secrets.randbelow(2**31)}&wait=0",
            content=(REPOSITORY / "examples" / "chelsea.jpg").read_bytes(),
        )
        job = asked.json()["id"]
        key = (stack.state.hget(keys.job(job), "request_key") or b"").decode()
        wait_until(lambda: http.get(f"/jobs/{job}").json()["stage"] == "inference")
        with paused(stack, "cpu-worker"):
            wait_until(lambda: stack.state.hget(keys.run(key), "ended_attempt:inference") == b"1")
            lost = [path for path in arrays(stack, key) if path.name.endswith(gone)]
            for path in lost:
                path.unlink()
        wait_until(lambda: http.get(f"/jobs/{job}").json()["state"] in ("done", "failed"))
        ended = http.get(f"/jobs/{job}").json()

    assert lost, "there was nothing to lose"
    assert (ended["state"], ended["error"]) == ("done", None)
    assert stack.state.hget(keys.run(key), "attempt") == b"2", "it was made anew, once"
    assert arrays(stack, key) == []


# An alpha that is gone, and one that never was


@pytest.fixture
def prepared(in_process: None, s3: S3Objects) -> Callable[[str], Work]:
    """A run of the matting model on a picture of this mode, after its first stage."""

    def prepare(mode: str) -> Work:
        upload, key, file = secrets.token_hex(8), secrets.token_hex(32), io.BytesIO()
        colours = np.random.default_rng(1).integers(0, 256, (48, 64, len(mode)), np.uint8)
        Image.fromarray(colours, mode).save(file, "PNG")
        s3.put(keys.upload_object("ada", upload), file.getvalue(), "image/png")
        spec = Spec(key, "ada", "matting", {}, ["cutout"], upload, "w", "c")
        work = Work(RunRef(key, 1), spec)
        begun = preprocess.prepare(work, results.cache_batch())
        assert callable(begun)
        assert begun() is None
        return work

    return prepare


def test_the_alpha_of_an_upload_is_found(prepared: Callable[[str], Work]) -> None:
    work = prepared("RGBA")

    alpha = postprocess._alpha(work, work.upload_info())

    assert alpha is not None
    assert alpha.shape == (48, 64)


def test_an_alpha_that_is_gone_is_not_taken_for_one_that_never_was(
    prepared: Callable[[str], Work],
) -> None:
    work = prepared("RGBA")
    clients.scratch().delete(work.scratch("alpha"))

    with pytest.raises(ArrayGone):
        postprocess._alpha(work, work.upload_info())


def test_an_upload_without_alpha_misses_none(prepared: Callable[[str], Work]) -> None:
    work = prepared("RGB")

    assert postprocess._alpha(work, work.upload_info()) is None
