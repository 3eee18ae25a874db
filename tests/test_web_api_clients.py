"""A photo sent in every way that usual clients have, to the real thing."""

import base64
import gzip
import io
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import API_KEY, Stack

PREDICT = "/api/v1/predict/toy"
KEY = {"Authorization": f"Bearer {API_KEY}"}
_numbers = itertools.count()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers=KEY, timeout=60, params={"wait": 60}) as client:
        yield client


@pytest.fixture
def fresh() -> bytes:
    """A small photo that nobody has sent before, and whose file has line breaks and NULs."""
    noise = np.random.default_rng(1000 + next(_numbers)).integers(0, 255, (48, 64, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def file(fresh: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "my photo.png"
    path.write_bytes(fresh)
    return path


def curl(stack: Stack, path: str, *options: str) -> tuple[int, dict[str, object]]:
    """Status and answer of a request by the real curl."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {API_KEY}"]
    done = subprocess.run([*command, *options, f"{stack.url}{path}"], capture_output=True)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(body)


def assert_done(answer: httpx.Response, gain: float) -> None:
    job = answer.json()
    assert (answer.status_code, job["state"]) == (200, "done"), answer.text
    assert job["params"] == {"gain": gain} and job["result"]["width"] == 64


@pytest.mark.parametrize("name", ["image", "image_file", "file", "anything"])
def test_a_form_with_a_file_of_any_name_is_taken(
    client: httpx.Client, fresh: bytes, name: str
) -> None:
    answer = client.post(PREDICT, files={name: ("a.png", fresh)}, data={"gain": "2"})

    assert_done(answer, 2)


@pytest.mark.parametrize("name", ["image", "image_base64", "image_b64", "image_file_b64"])
def test_json_with_base64_is_taken(client: httpx.Client, fresh: bytes, name: str) -> None:
    text = base64.b64encode(fresh).decode()

    answer = client.post(PREDICT, json={name: text, "gain": 2})

    assert_done(answer, 2)


def test_json_with_a_data_url_and_params_is_taken(client: httpx.Client, fresh: bytes) -> None:
    text = f"data:image/png;base64,{base64.b64encode(fresh).decode()}"

    answer = client.post(PREDICT, json={"image": text, "params": {"gain": 3}})

    assert_done(answer, 3)


def test_a_photo_is_the_same_however_it_is_sent(client: httpx.Client, fresh: bytes) -> None:
    first = client.post(PREDICT, content=fresh).json()
    text = base64.b64encode(fresh).decode()

    others = [
        client.post(PREDICT, files={"image": fresh}),
        client.post(PREDICT, json={"image": text}),
        client.put(PREDICT, content=fresh),
        client.put(f"{PREDICT}/a.png", content=fresh),
        client.post(f"{PREDICT}/", content=fresh),
    ]

    assert not first["cached"]
    assert [other.json()["cached"] for other in others] == [True] * 5


def test_options_may_come_in_the_body(stack: Stack, fresh: bytes) -> None:
    fields = {"wait": 0, "priority": "batch", "output": ["preview"], "keep": False}
    text = base64.b64encode(fresh).decode()

    answer = httpx.post(f"{stack.url}{PREDICT}", headers=KEY, json={"image": text, **fields})
    again = httpx.post(
        f"{stack.url}{PREDICT}",
        headers=KEY,
        files={"file": fresh},
        data={"wait": "0", "priority": "batch", "gain": "2"},
    )

    assert answer.status_code == 202 and answer.json()["priority"] == "batch"
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
    assert again.status_code == 202 and again.json()["params"] == {"gain": 2}


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"wait": 999}, "body.wait"), ({"priority": "high"}, "body.priority"), ({"gain": 99}, "gain"),
     ({"gian": 2}, "gian"), ({"output": "alpah"}, "alpah")],
)  # fmt: skip
def test_a_wrong_field_is_named(
    stack: Stack, fresh: bytes, fields: dict[str, object], name: str
) -> None:
    body = {"image": base64.b64encode(fresh).decode(), **fields}

    answer = httpx.post(f"{stack.url}{PREDICT}", headers=KEY, json=body)

    assert answer.status_code == 422 and name in answer.json()["error"]["message"]


def test_a_parameter_in_two_places_is_refused(client: httpx.Client, fresh: bytes) -> None:
    answer = client.post(
        PREDICT, files={"image": fresh}, data={"gain": "2"}, params={"gain": 2, "wait": 1}
    )

    assert answer.status_code == 422 and "'gain'" in answer.json()["error"]["message"]


def test_several_files_are_told_how_to_go_on(client: httpx.Client, fresh: bytes) -> None:
    answer = client.post(PREDICT, files=[("image", fresh), ("image", fresh)])

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "several_pictures")
    assert "/api/v1/uploads" in error["hint"]


def test_a_file_above_the_limit_is_refused_in_every_form(client: httpx.Client) -> None:
    large = bytes(26 * 2**20)

    answers = [
        client.post(PREDICT, content=large),
        client.put(f"{PREDICT}/a.jpg", content=large),
        client.post(PREDICT, files={"image": large}),
        client.post(PREDICT, json={"image": base64.b64encode(large).decode()}),
    ]

    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (413, "too_large")
    ] * 4


def test_what_is_in_a_form_is_checked_as_any_body(client: httpx.Client, fresh: bytes) -> None:
    text = client.post(PREDICT, files={"image": b"no picture at all, just words"})
    cut = client.post(PREDICT, files={"image": fresh[:200]})

    assert text.status_code == 415 and cut.status_code == 422


# curl


def test_curl_sends_a_file_as_a_form(stack: Stack, file: Path) -> None:
    status, job = curl(stack, PREDICT, "-F", f"image=@{file}", "-F", "gain=2", "-F", "wait=60")

    assert status == 200 and job["params"] == {"gain": 2}


def test_curl_uploads_a_file(stack: Stack, file: Path) -> None:
    appended = curl(stack, f"{PREDICT}/", "-T", str(file))
    whole = curl(stack, f"{PREDICT}?wait=60", "-T", str(file))

    assert appended[0] in (200, 202) and whole[0] == 200


def test_curl_sends_a_file_as_the_body(stack: Stack, file: Path) -> None:
    assert curl(stack, f"{PREDICT}?wait=60", "--data-binary", f"@{file}")[0] == 200


def test_curl_that_drops_line_breaks_is_told_what_to_write(stack: Stack, file: Path) -> None:
    status, answer = curl(stack, PREDICT, "-d", f"@{file}")

    error = answer["error"]
    assert isinstance(error, dict)
    assert (status, error["code"]) == (422, "stripped_file")
    assert "--data-binary @" in error["hint"] and "-F image=@" in error["hint"]


def test_a_compressed_body_gets_a_hint(client: httpx.Client, fresh: bytes) -> None:
    answer = client.post(
        PREDICT, content=gzip.compress(fresh), headers={"Content-Encoding": "gzip"}
    )

    assert answer.status_code == 415 and "compressed" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["-d", "image=hello"], "--data-binary @"),
        (["-d", "photo.jpg"], "--data-binary @"),
        (["-X", "POST"], "--data-binary @"),
        (["-F", "image=photo.jpg"], "-F image=@photo.jpg"),
        (["-d", '{"image": "QUJD"}'], "application/json"),
        (["-d", "QUJD" * 40], "base64"),
    ],
)
def test_usual_slips_get_a_hint(stack: Stack, options: list[str], hint: str) -> None:
    status, answer = curl(stack, PREDICT, *options)

    error = answer["error"]
    assert isinstance(error, dict)
    assert 400 <= status < 500 and hint in error["hint"], error


def test_a_client_that_goes_away_in_the_middle_of_a_form_leaves_nothing(
    stack: Stack, client: httpx.Client, fresh: bytes
) -> None:
    def broken() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + fresh
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.post(
            PREDICT, content=broken(), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )

    assert client.post(PREDICT, files={"image": fresh}).json()["cached"] is False
    assert "Traceback" not in (stack.folder / "web.log").read_text()
