"""What one has here, as an archive: complete, one's own, and sent in bounded memory."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fresh import fresh_photo
from stack import Stack

from storage.s3.objects import SHOWN_S


@pytest.fixture
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=90) as client:
        yield client


def predict(client: httpx.Client, model: str = "toy") -> dict[str, Any]:
    job: dict[str, Any] = client.post(
        f"/api/v1/predict/{model}?wait=60", content=fresh_photo()
    ).json()
    return job


def uploaded(client: httpx.Client, data: bytes) -> str:
    asked = {"size": len(data), "type": "image/png"}
    upload = client.post("/api/v1/uploads", json=asked).raise_for_status().json()["upload"]
    httpx.put(upload["url"], content=data, headers=upload["headers"]).raise_for_status()
    return str(upload["id"])


def exported(client: httpx.Client) -> zipfile.ZipFile:
    answer = client.get("/api/v1/me/export").raise_for_status()
    assert answer.headers["content-type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_the_archive_has_jobs_results_links_and_uploads(
    visitor: httpx.Client, stack: Stack
) -> None:
    jobs = [predict(visitor), predict(visitor, "matting")]
    [name, *_] = jobs[0]["result"]["objects"]
    share = visitor.post(f"/api/v1/jobs/{jobs[0]['id']}/shares", json={"object": name}).json()
    upload = uploaded(visitor, b"no picture, but bytes of theirs")
    time.sleep(2 * SHOWN_S)  # each folder of S3 is listed anew
    with httpx.Client(base_url=stack.url, timeout=90) as other:
        theirs = predict(other)

    archive = exported(visitor)

    listed = json.loads(archive.read("jobs.json"))
    assert archive.testzip() is None
    assert [job["id"] for job in listed] == [jobs[1]["id"], jobs[0]["id"]]
    for job, line in zip(reversed(jobs), listed, strict=True):
        assert line["result"]["data"] == job["result"]["data"]
        assert f"uploads/{line['upload']}.png" in archive.namelist()
        for key, image in job["result"]["objects"].items():
            sent = httpx.get(image["url"]).content
            assert archive.read(line["result"]["objects"][key]) == sent
    assert [link["id"] for link in json.loads(archive.read("links.json"))] == [share["id"]]
    assert archive.read(f"uploads/{upload}.png") == b"no picture, but bytes of theirs"
    assert theirs["id"] not in archive.read("jobs.json").decode()


def test_whoever_has_nothing_gets_an_empty_archive(visitor: httpx.Client) -> None:
    archive = exported(visitor)

    assert archive.namelist() == ["jobs.json", "links.json"]
    assert json.loads(archive.read("jobs.json")) == []


def test_one_export_of_a_user_at_a_time(visitor: httpx.Client) -> None:
    for _ in range(5):  # more than the buffers of a connection take
        uploaded(visitor, bytes(12 * 2**20))
    time.sleep(2 * SHOWN_S)  # each folder of S3 is listed anew

    with visitor.stream("GET", "/api/v1/me/export") as first:
        parts = first.iter_raw(1000)  # when nobody holds this, the connection ends
        next(parts)
        second = visitor.get("/api/v1/me/export")
        assert second.status_code == 429
        error = second.json()["error"]
        assert (error["limit"], error["value"]) == ("exports", 1)

    began = time.monotonic()  # the server hears a little later that the first one has left
    while (third := visitor.get("/api/v1/me/export")).status_code == 429:
        assert time.monotonic() - began < 10
    assert zipfile.ZipFile(io.BytesIO(third.content)).testzip() is None


def test_memory_does_not_grow_with_the_archive(visitor: httpx.Client, stack: Stack) -> None:
    for _ in range(4):
        uploaded(visitor, bytes(24 * 2**20))
    time.sleep(2 * SHOWN_S)  # each folder of S3 is listed anew
    before_kb, size = peak_kb(stack), 0

    with visitor.stream("GET", "/api/v1/me/export") as answer:
        for part in answer.iter_raw():
            size += len(part)

    assert size > 4 * 24 * 2**20
    assert peak_kb(stack) - before_kb < 40 * 1024


def peak_kb(stack: Stack) -> int:
    """Most memory that the web process has had so far, in KiB."""
    status = Path(f"/proc/{stack.processes['web'].pid}/status")
    [peak] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1])
