"""No log gives a secret, a name of a file or a picture away, whatever is asked for or breaks."""

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import log_search
import numpy as np
import pytest
from PIL import Image
from stack import API_KEY, MODEL_PATHS, Stack

KEY = {"Authorization": f"Bearer {API_KEY}"}
NAME = "Erika_Passfoto"
"""What somebody calls a file."""
WRONG_KEY = "wrong-key-0123456789"
WRONG_PASSWORD = "wrong-Password-1"
TYPED = "https://erika:Geheim99@photos.example/p.jpg?token=Geheim98"


def picture(red: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(red).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation that logs all it can."""
    env = {
        "PIXELMILL_MODELS": "toy,noop",
        "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
        "PIXELMILL_LOG_LEVEL": "debug",
        "PIXELMILL_ACCESS_LOG": "true",
        "PIXELMILL_FETCH_HOSTS": "https://photos.example",
    }
    with Stack(tmp_path_factory.mktemp("loud"), env) as loud:
        loud.secrets |= {NAME, WRONG_KEY, WRONG_PASSWORD, "Geheim98", "Geheim99"}
        yield loud.start_all()


@pytest.fixture
def program(loud: Stack) -> Iterator[httpx.Client]:
    """A client with a key."""
    with httpx.Client(base_url=f"{loud.url}/api/v1", headers=KEY, timeout=60) as program:
        yield program


def done(answer: httpx.Response) -> dict[str, Any]:
    job: dict[str, Any] = answer.raise_for_status().json()
    assert job["state"] == "done", job
    return job


def send_in_all_forms(program: httpx.Client) -> list[dict[str, Any]]:
    text = base64.b64encode(picture(3)).decode()
    return [
        done(program.post("/predict/toy?wait=30", content=picture(0))),
        done(program.put(f"/predict/toy/{NAME}.png?wait=30", content=picture(1))),
        done(program.post("/predict/toy?wait=30", files={"image": (f"{NAME}.png", picture(2))})),
        done(program.post("/predict/toy?wait=30", json={"image": text, "filename": NAME})),
    ]


def upload(program: httpx.Client) -> None:
    photo = picture(4)
    asked = {"size": len(photo), "type": "image/png"}
    address = program.post("/uploads", json=asked).json()["upload"]
    put = httpx.put(address["url"], content=photo, headers=address["headers"])
    assert put.status_code == 200
    done(program.post("/jobs?wait=30", json={"upload": address["id"], "model": "toy"}))


def be_refused(loud: Stack, program: httpx.Client) -> None:
    broken = picture(5)[:80] + picture(6)
    statuses = [
        program.put(f"/predict/toy/{NAME}.png", content=broken).status_code,
        program.post("/predict/toy", params={"url": TYPED}).status_code,
        program.get("/models", headers={"Authorization": f"Bearer {WRONG_KEY}"}).status_code,
        httpx.post(
            f"{loud.url}/login", data={"user": "erika", "password": WRONG_PASSWORD}
        ).status_code,
        httpx.get(f"{loud.url}/ui/gradio_api/file={NAME}.png").status_code,
        httpx.get(f"{loud.url}/s/{NAME}").status_code,
    ]
    assert set(statuses) <= {400, 401, 403, 404, 422, 429}


def secrets_in(answers: list[dict[str, Any]]) -> set[str]:
    """The signatures of addresses."""
    return set(re.findall(r"X-Amz-Signature=([0-9a-f]+)", json.dumps(answers)))


def test_the_logs_of_an_installation_that_works_tell_no_secret(
    loud: Stack, program: httpx.Client
) -> None:
    jobs = send_in_all_forms(program)
    upload(program)
    be_refused(loud, program)
    visitor = httpx.get(f"{loud.url}/api/v1/models")
    job = f"/jobs/{jobs[0]['id']}"
    events = program.get(f"{job}/events").text
    link = program.post(f"{job}/shares", json={"object": "preview"}).raise_for_status().json()
    seen = httpx.get(link["url"])
    shown = httpx.get(jobs[0]["result"]["objects"]["preview"]["url"])
    loud.secrets |= secrets_in(jobs) | {*visitor.cookies.values(), link["url"].rpartition("/")[2]}

    assert (seen.status_code, shown.status_code) == (200, 200) and "data:" in events
    assert len(loud.secrets) > 8
    loud.check_logs()
    assert "event=request" in (loud.folder / "web.log").read_text()


def test_the_logs_of_an_installation_that_breaks_tell_no_secret(
    loud: Stack, program: httpx.Client
) -> None:
    for server in ("s3", "state"):
        loud.kill(server)
        failed = program.put(f"/predict/toy/{NAME}.png?wait=5", content=picture(7))
        assert failed.status_code in (503, 202)
        httpx.get(f"{loud.url}/s/{NAME}{'x' * 20}")
        loud.start_s3() if server == "s3" else loud.start_redis(server, "--appendonly", "yes")
    loud.kill("gpu-worker")
    loud.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"])
    loud.wait_until_live()
    done(program.put(f"/predict/toy/{NAME}.png?wait=60", content=picture(8)))

    loud.check_logs()
    assert "storage down" in (loud.folder / "web.log").read_text()


@pytest.mark.parametrize(
    "line",
    [
        b"GET /pixelmill/x?X-Amz-Signature=00112233445566778899 200",
        b"url=http://host/x?X-Amz-Credential=key%2F2026",
        b"StringToSign: AWS4-HMAC-SHA256",
        b"headers={'authorization': 'Bearer abcdefgh'}",
        b"event=asked key=pm_0123456789abcdefghij",
        b"cookie: pixelmill_0123456789=u0123.aBcD.signature",
        b"connected to redis://:geheim@127.0.0.1:6379",
        b"body=b'\\xff\\xd8\\xff\\xe0'",
        b"\x89PNG\r\n",
        b'image="iVBORw0KGgoAAAANSUhEUg"',
        b"event=broken name=Erika_Passfoto.jpeg",
        b"the secret of-this-installation",
    ],
    ids=str,
)
def test_a_line_that_tells_a_secret_is_found(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "web.log").write_bytes(b"level=info event=started\n" + line + b"\n")

    assert len(log_search.found(tmp_path, {"PIXELMILL_SECRET": "of-this-installation"})) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"Connected to tasks.celery_transport:Transport://:**@127.0.0.1:33435/0",
        b"event=request path=/api/v1/predict/toy/* status=200",
        b"event=revoked key=pm_0123456",
        b"result alpha.png and preview.webp removed",
        b"the header authorization is not well formed",
    ],
    ids=str,
)
def test_a_line_that_tells_nothing_is_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "web.log").write_bytes(line)

    assert log_search.found(tmp_path, {}) == []
