"""A volume on its way: many slices in one run, from the upload to the answer."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from nifti_files import nifti_gz
from stack import Stack
from waiting import wait_until

from storage import keys, object_keys

SLICES = 40


def nifti(slices: int = SLICES) -> bytes:
    """A volume that nobody has sent before: slice z has the value z, and a bright square."""
    voxels = np.zeros((slices, 48, 48), "<i2") + np.arange(slices, dtype="<i2")[:, None, None]
    voxels[:, 8:16, 8:16] = 1000
    voxels[:, 0, 0] = np.frombuffer(secrets.token_bytes(2), "<i2") % 64
    return nifti_gz(voxels, (2.5, 0.7, 0.7))


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=60) as client:
        yield client


def upload(http: httpx.Client, data: bytes, kind: str = "application/gzip") -> str:
    """Id of an upload that was sent to its signed address."""
    asked = http.post("/uploads", json={"size": len(data), "type": kind})
    place = asked.json()["upload"]
    httpx.put(place["url"], content=data, headers=place["headers"]).raise_for_status()
    return str(place["id"])


def submit(http: httpx.Client, data: bytes, wait: float = 0, **params: Any) -> httpx.Response:
    """The answer of a job on this volume."""
    body = {"model": "toyvolume", "upload": upload(http, data), "params": params}
    return http.post(f"/jobs?wait={wait}", json=body)


def test_a_volume_is_answered_slice_by_slice(http: httpx.Client) -> None:
    answer = submit(http, nifti(), wait=60)

    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert np.diff(result["data"]["means"]) == pytest.approx(1, abs=0.1), "slices are in order"
    assert result["data"]["bright"][0] in (64, 65), "postprocess has the voxels"
    mask = httpx.get(result["objects"]["mask"]["url"])
    assert len(mask.content) == SLICES * 48 * 48 // 8
    assert result["objects"]["mask"]["type"] == mask.headers["content-type"]
    assert result["thumbnail"]["type"] == "image/webp"


def test_a_job_says_how_many_slices_are_done(http: httpx.Client) -> None:
    job = submit(http, nifti(), slow_ms=20).json()

    seen = []
    while (job := http.get(f"/jobs/{job['id']}").json())["state"] not in ("done", "failed"):
        seen.append((job["slices"], job["progress"]))
        time.sleep(0.02)

    counts = [(slices["done"], progress) for slices, progress in seen if slices]
    assert job["state"] == "done"
    assert counts == sorted(counts)
    assert {16, 32} <= {done for done, _ in counts}, "each chunk is told"
    assert job["slices"] is None, "what is over needs no count"


def test_a_photo_passes_a_volume(http: httpx.Client, photo: bytes) -> None:
    job = submit(http, nifti(96), slow_ms=20).json()["id"]
    wait_until(lambda: http.get(f"/jobs/{job}").json()["slices"])

    query = f"?salt={secrets.randbelow(2**31)}&wait=30"
    assert http.post(f"/predict/noop{query}", content=photo).json()["state"] == "done"

    assert http.get(f"/jobs/{job}").json()["state"] == "inferring"
    http.post(f"/jobs/{job}/cancel")


def test_a_cancelled_volume_leaves_the_device_and_the_memory(
    http: httpx.Client, stack: Stack
) -> None:
    job = submit(http, nifti(400), slow_ms=20).json()["id"]
    wait_until(lambda: http.get(f"/jobs/{job}").json()["slices"])
    key = (stack.state.hget(keys.job(job), "request_key") or b"").decode()
    assert stack.arrays(key)

    http.post(f"/jobs/{job}/cancel")

    began = time.monotonic()
    wait_until(lambda: http.get(f"/jobs/{job}").json()["state"] == "cancelled")
    assert time.monotonic() - began < 5, "its slices would take 8 s"
    wait_until(lambda: not stack.arrays(key))


def test_the_upload_of_a_volume_is_deleted_once_no_job_needs_it(
    http: httpx.Client, stack: Stack
) -> None:
    body = {"model": "toyvolume", "upload": upload(http, nifti()), "params": {"slow_ms": 20}}
    first = http.post("/jobs?wait=0", json=body).json()
    second = http.post("/jobs?wait=30", json={**body, "params": {"salt": 1}}).json()

    wait_until(lambda: http.get(f"/jobs/{first['id']}").json()["state"] == "done")
    assert second["state"] == "done", "its upload was not taken away before"
    [user] = stack.state.hmget(keys.job(first["id"]), "user")
    stored = (
        stack.folder / "s3" / "pixelmill" / object_keys.upload_object(user.decode(), body["upload"])
    )
    wait_until(lambda: not stored.exists())
    again = http.post("/jobs", json={**body, "params": {"salt": 2}})
    assert (again.status_code, again.json()["error"]["code"]) == (404, "no_upload")


def test_a_file_that_is_no_volume_is_refused_before_a_run(http: httpx.Client) -> None:
    answer = submit(http, b"%PDF-1.7 and more" * 30)

    assert answer.status_code == 415
    assert "NIfTI" in answer.json()["error"]["message"]


def test_a_model_of_pictures_refuses_a_volume(http: httpx.Client) -> None:
    upload_id = upload(http, nifti(1))

    answer = http.post("/jobs", json={"model": "toy", "upload": upload_id})

    assert answer.status_code == 415
    assert "the file is a volume" in answer.json()["error"]["message"]


def test_a_small_volume_may_come_as_the_body_of_predict(http: httpx.Client) -> None:
    answer = http.post("/predict/toyvolume?wait=60", content=nifti(2))

    assert answer.json()["state"] == "done", answer.text


def test_a_volume_too_large_for_a_body_is_told_the_way_that_takes_it(http: httpx.Client) -> None:
    answer = http.post("/predict/toyvolume", content=bytes(26 * 2**20))

    assert answer.status_code == 413
    assert "POST /api/v1/uploads" in answer.json()["error"]["hint"]
