"""`Accept: image/...`: the picture itself as the answer."""

import io
import itertools
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import API_KEY, Stack

from storage import keys

TOY = "/api/v1/predict/toy"
PNG = {"Accept": "image/png"}
_numbers = itertools.count()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=90, params={"wait": 60}) as made:
        yield made


@pytest.fixture
def fresh() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (next(_numbers), 200, 9)).save(out, "PNG")
    return out.getvalue()


def test_a_picture_comes_with_its_timings_and_its_job(client: httpx.Client, fresh: bytes) -> None:
    answer = client.post(TOY, files={"image": ("my photo.png", fresh)}, headers=PNG)
    again = client.post(TOY, content=fresh, headers=PNG)

    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    stages = [part.partition(";dur=")[0] for part in answer.headers["server-timing"].split(", ")]
    assert stages == ["queued", "preprocess", "inference", "postprocess"]
    assert answer.headers["content-disposition"] == 'inline; filename="my photo-preview.png"'
    assert answer.headers["cache-control"] == "private" and answer.headers["vary"] == "Accept"
    assert answer.headers["etag"] and int(answer.headers["content-length"]) == len(answer.content)
    job = client.get(f"/api/v1/jobs/{answer.headers['x-pixelmill-job']}").json()
    assert job["state"] == "done"
    assert again.content == answer.content and again.headers["server-timing"].startswith("cache;")


def test_a_matte_is_answered_as_its_cutout(client: httpx.Client, photo: bytes) -> None:
    for accept, pillow in ((*PNG.values(), "PNG"), ("image/*", "WEBP"), ("image/jpeg", "JPEG")):
        answer = client.post("/api/v1/predict/matting", content=photo, headers={"Accept": accept})

        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.format, picture.size) == (pillow, (512, 512))
        assert answer.headers["content-type"] == Image.MIME[pillow]
        if pillow != "JPEG":
            assert np.asarray(picture)[20, 20, 3] == 0, "the wall"


def test_the_output_that_is_named_is_the_picture(client: httpx.Client, photo: bytes) -> None:
    answer = client.post(
        "/api/v1/predict/matting", content=photo, headers=PNG, params={"output": "mask"}
    )

    mask = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert mask.shape == (512, 512) and (mask[100, 228], mask[20, 20]) == (255, 0)
    assert answer.headers["content-disposition"] == 'inline; filename="picture-mask.png"'


def test_a_cutout_too_large_for_its_type_is_a_png_unless_the_client_excludes_that(
    client: httpx.Client,
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (4500, 2850), "white").save(out, "JPEG")
    url, photo = "/api/v1/predict/matting", out.getvalue()

    png = client.post(url, content=photo, headers={"Accept": "image/webp"})
    none = client.post(url, content=photo, headers={"Accept": "image/webp, image/png;q=0"})

    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert png.headers["x-pixelmill-notes"] == "no_subject, written_as_png"
    assert Image.open(io.BytesIO(png.content)).size == (4500, 2850)
    assert (none.status_code, none.json()["error"]["code"]) == (406, "not_acceptable")
    assert "`max_side=3500`" in none.json()["error"]["hint"]


def test_any_other_answer_is_json_that_says_why(client: httpx.Client, fresh: bytes) -> None:
    later = client.post(TOY, content=fresh, params={"wait": 0, "gain": 3}, headers=PNG)
    broken = client.post(TOY, content=fresh[:60], headers=PNG)
    none = client.post("/api/v1/predict/noop", content=fresh, headers=PNG)
    other_type = client.post(TOY, content=fresh, headers={"Accept": "image/webp"})
    no_type = client.post(TOY, content=fresh, headers={"Accept": "image/gif"})

    assert later.status_code == 202 and later.headers["location"].startswith("/api/v1/jobs/")
    assert later.json()["state"] == "queued"
    assert broken.status_code == 422 and broken.json()["error"]["message"]
    assert "Its answer is JSON" in none.json()["error"]["hint"]
    assert "`Accept: image/png`" in other_type.json()["error"]["hint"]
    for answer in (none, other_type, no_type):
        assert (answer.status_code, answer.json()["error"]["code"]) == (406, "not_acceptable")


def test_a_picture_that_is_gone_is_an_error_and_not_the_words_of_s3(
    stack: Stack, client: httpx.Client, fresh: bytes
) -> None:
    job_id = client.post(TOY, content=fresh, headers=PNG).headers["x-pixelmill-job"]
    request_key = stack.state.hget(keys.job(job_id), "request_key")
    assert isinstance(request_key, bytes)
    for path in (stack.folder / "s3").rglob("*.*"):
        if request_key.decode() in str(path):
            path.unlink()
    time.sleep(1.1)  # the server lists a folder once a second

    answer = client.post(TOY, content=fresh, headers=PNG)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_object")


def test_json_says_that_it_depends_on_accept(client: httpx.Client, fresh: bytes) -> None:
    answer = client.post(TOY, content=fresh)

    assert answer.headers["vary"] == "Accept"
    assert answer.headers["content-type"] == "application/json"
