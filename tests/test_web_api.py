"""The API through the real thing: web, Redis, S3, Celery workers, models."""

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from fresh import fresh_photo
from PIL import Image
from stack import REPOSITORY, Stack

from storage import keys

PREDICT = "/api/v1/predict"


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody new, with a cookie jar."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def other(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def fresh() -> bytes:
    """A small photo that nobody has sent before."""
    return fresh_photo()


def predict(
    client: httpx.Client, data: bytes, model: str = "toy", **query: object
) -> httpx.Response:
    return client.post(f"{PREDICT}/{model}", content=data, params={"wait": 60, **query})


def inferences(stack: Stack) -> int:
    """How many runs of `toy` have gone to inference so far, of whatever version of it."""
    queues = stack.state.scan_iter(keys.positions("gpu.toy@*", "interactive"))
    return sum(int(stack.state.hget(queue, "next") or 0) for queue in queues)


def test_a_photo_becomes_a_clean_cutout(browser: httpx.Client, photo: bytes) -> None:
    job = predict(browser, photo, "matting").json()

    objects = job["result"]["objects"]
    alpha = np.asarray(Image.open(io.BytesIO(httpx.get(objects["alpha"]["url"]).content)))
    preview = np.asarray(Image.open(io.BytesIO(httpx.get(objects["preview"]["url"]).content)))
    assert (job["state"], job["result"]["kind"]) == ("done", "matte")
    assert (job["result"]["width"], job["result"]["height"]) == (512, 512)
    assert alpha.shape == (512, 512) and alpha.dtype == np.uint8
    assert alpha[100, 228] == 255, "her face"
    assert alpha[20, 20] == 0, "the wall"
    assert preview.shape == (512, 512, 4) and (preview[:64, :64] == 0).all(), "no wall is left"
    assert list(job["timings_ms"]) == ["queued", "preprocess", "inference", "postprocess"]


def test_a_result_has_a_thumbnail_that_goes_with_it(browser: httpx.Client, photo: bytes) -> None:
    job = predict(browser, photo, "matting", output="mask").json()

    thumbnail = job["result"]["thumbnail"]
    picture = Image.open(io.BytesIO(httpx.get(thumbnail["url"]).content))
    assert "thumbnail" not in job["result"]["objects"]
    assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGBA", (256, 256))
    assert (thumbnail["width"], thumbnail["height"]) == picture.size

    browser.delete(f"/api/v1/jobs/{job['id']}").raise_for_status()

    assert httpx.get(thumbnail["url"]).status_code == 404


def test_a_cutout_hides_nothing_under_its_transparent_parts(
    browser: httpx.Client, photo: bytes
) -> None:
    job = predict(browser, photo, "matting", output="cutout-png").json()

    cutout = job["result"]["objects"]["cutout"]
    pixels = np.asarray(Image.open(io.BytesIO(httpx.get(cutout["url"]).content)))
    assert cutout["type"] == "image/png" and pixels.shape == (512, 512, 4)
    assert (pixels[pixels[:, :, 3] == 0] == 0).all()


def test_the_same_bytes_again_are_answered_without_a_task(
    stack: Stack, browser: httpx.Client, fresh: bytes
) -> None:
    first = predict(browser, fresh).json()
    taken = inferences(stack)

    again = predict(browser, fresh).json()

    assert not first["cached"] and again["cached"]
    assert again["id"] != first["id"] and again["state"] == "done"
    assert inferences(stack) == taken > 0


def test_another_parameter_is_another_result(browser: httpx.Client, fresh: bytes) -> None:
    predict(browser, fresh)

    other_gain = predict(browser, fresh, gain=2).json()
    same_gain = predict(browser, fresh, gain="2.0").json()

    assert not other_gain["cached"] and other_gain["params"] == {"gain": 2.0}
    assert same_gain["cached"]


def test_another_user_shares_nothing(
    browser: httpx.Client, other: httpx.Client, fresh: bytes
) -> None:
    job = predict(browser, fresh).json()

    theirs = predict(other, fresh).json()
    stolen = other.get(f"/api/v1/jobs/{job['id']}")

    assert not theirs["cached"]
    assert stolen.status_code == 404 and stolen.json()["error"]["code"] == "no_job"
    assert browser.get(f"/api/v1/jobs/{job['id']}").status_code == 200


def test_an_emptied_cache_costs_a_read_not_a_run(
    stack: Stack, browser: httpx.Client, fresh: bytes
) -> None:
    predict(browser, fresh)
    stack.client("cache").flushall()
    for key in stack.state.scan_iter(keys.run("*")):
        stack.state.delete(key)
    an_hour_ago = int(time.time() * 1000) - 3_600_000
    stack.state.set(keys.SINCE, an_hour_ago)
    time.sleep(1.1)  # it is looked at once a second
    taken = inferences(stack)

    again = predict(browser, fresh).json()

    assert again["state"] == "done"
    assert inferences(stack) == taken > 0


def test_equal_requests_at_a_time_are_one_run(
    stack: Stack, browser: httpx.Client, fresh: bytes
) -> None:
    browser.get("/api/v1/models")  # the cookie
    before = inferences(stack)

    jobs = [predict(browser, fresh, wait=0).json() for _ in range(5)]

    assert len({job["id"] for job in jobs}) == 5
    ends = [browser.get(f"/api/v1/jobs/{job['id']}/events").text for job in jobs]
    assert all('"state":"done"' in end for end in ends)
    assert inferences(stack) == before + 1


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"just some words, and no image at all", 415, "unsupported_type"),
        (b"", 422, "empty"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", 422, "bad_image"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(20), 415, "unsupported_type"),
    ],
)
def test_what_is_no_image_is_told_so(
    browser: httpx.Client, data: bytes, status: int, code: str
) -> None:
    answer = predict(browser, data, "matting")

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert len(answer.json()["error"]["message"]) > 20


def test_a_truncated_jpeg_fails_with_a_sentence(browser: httpx.Client, photo: bytes) -> None:
    answer = predict(browser, photo[: len(photo) // 2], "matting")

    assert answer.status_code == 422
    job = answer.json()
    assert job["state"] == "failed" and job["error"]["message"]
    assert browser.get(f"/api/v1/jobs/{job['id']}").status_code == 200


def test_a_bad_image_is_remembered(browser: httpx.Client, photo: bytes) -> None:
    cut = photo[: len(photo) // 3]
    predict(browser, cut, "toy")

    again = predict(browser, cut, "toy")

    assert again.status_code == 422 and again.json()["cached"]


def test_a_client_that_sends_too_much_can_read_why(stack: Stack) -> None:
    command = ["curl", "-sS", "-o", "-", "-w", "%{http_code}", "--data-binary", "@-"]
    url = f"{stack.url}{PREDICT}/matting"

    sent = subprocess.run([*command, url], input=bytes(60 * 2**20), capture_output=True, check=True)

    assert sent.stdout.endswith(b"413") and b'"code":"too_large"' in sent.stdout


def test_a_chunked_body_without_a_length_is_bounded_too(browser: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(2**20)

    answer = browser.post(f"{PREDICT}/toy", content=chunks())

    assert answer.status_code == 413


def test_unknown_models_parameters_and_outputs_are_named(
    browser: httpx.Client, fresh: bytes
) -> None:
    model = predict(browser, fresh, "upscal")
    parameter = predict(browser, fresh, gian=2)
    value = predict(browser, fresh, gain=99)
    output = predict(browser, fresh, output="alpah")

    assert model.status_code == 404 and "toy" in model.json()["error"]["message"]
    assert parameter.status_code == 422 and "gain" in parameter.json()["error"]["message"]
    assert value.status_code == 422 and "gain" in value.json()["error"]["message"]
    assert output.status_code == 422 and "preview" in output.json()["error"]["message"]


def test_wait_zero_answers_at_once_and_the_job_can_be_asked_for(
    browser: httpx.Client, fresh: bytes
) -> None:
    answer = predict(browser, fresh, wait=0)
    job_id = answer.json()["id"]

    for _ in range(200):
        job = browser.get(f"/api/v1/jobs/{job_id}").json()
        if job["state"] == "done":
            break
        time.sleep(0.05)

    assert answer.status_code == 202
    assert job["state"] == "done" and job["progress"] == 1


def test_a_jobs_events_end_with_its_result(browser: httpx.Client, photo: bytes) -> None:
    job_id = predict(browser, photo, "matting", wait=0, clean=False).json()["id"]

    with browser.stream("GET", f"/api/v1/jobs/{job_id}/events") as answer:
        events = "".join(answer.iter_text()).split("\n\n")

    numbered = [event for event in events if event.startswith("id:")]
    versions = [int(event.split("\n")[0][3:]) for event in numbered]
    states = [json.loads(event.split("data: ")[1])["state"] for event in numbered]
    assert answer.headers["x-accel-buffering"] == "no"
    assert versions == sorted(set(versions))
    assert states[-1] == "done" and "inferring" in states


def test_events_resume_after_the_last_seen(browser: httpx.Client, fresh: bytes) -> None:
    job_id = predict(browser, fresh).json()["id"]
    whole = browser.get(f"/api/v1/jobs/{job_id}/events").text
    last = whole.split("id: ")[1].split("\n")[0]

    seen = browser.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last})

    assert '"state":"done"' in whole and "data:" not in seen.text


def test_a_file_goes_straight_to_s3_and_then_becomes_a_job(
    browser: httpx.Client, fresh: bytes
) -> None:
    place = browser.post("/api/v1/uploads", json={"size": len(fresh), "type": "image/png"}).json()
    upload = place["upload"]

    put = httpx.put(upload["url"], content=fresh, headers=upload["headers"])
    job = browser.post("/api/v1/jobs?wait=30", json={"upload": upload["id"], "model": "toy"})

    assert put.status_code == 200
    assert job.status_code == 200 and job.json()["result"]["width"] == 64


def test_the_same_bytes_uploaded_again_never_reach_the_device(
    stack: Stack, browser: httpx.Client, fresh: bytes
) -> None:
    asked = []
    for _ in range(2):
        place = browser.post("/api/v1/uploads", json={"size": len(fresh), "type": "image/png"})
        upload = place.json()["upload"]
        httpx.put(upload["url"], content=fresh, headers=upload["headers"]).raise_for_status()
        asked.append({"upload": upload["id"], "model": "toy"})
    first = browser.post("/api/v1/jobs?wait=30", json=asked[0]).json()
    taken = inferences(stack)

    second = browser.post("/api/v1/jobs?wait=30", json=asked[1]).json()

    assert inferences(stack) == taken > 0
    previews = [job["result"]["objects"]["preview"]["url"] for job in (first, second)]
    assert httpx.get(previews[1]).content == httpx.get(previews[0]).content


def test_a_known_file_is_not_asked_for_again(browser: httpx.Client, fresh: bytes) -> None:
    named = {
        "sha256": hashlib.sha256(fresh).hexdigest(),
        "variant": "original",
        "size": len(fresh),
        "type": "image/png",
        "model": "toy",
    }
    needed = browser.post("/api/v1/jobs", json=named)
    upload = needed.json()["upload"]
    httpx.put(upload["url"], content=fresh, headers=upload["headers"]).raise_for_status()
    first = browser.post("/api/v1/jobs?wait=30", json={"upload": upload["id"], "model": "toy"})

    hit = browser.post("/api/v1/jobs", json=named)
    lenient = browser.post("/api/v1/jobs", json={**named, "sha256": "0" * 64, "or_upload": True})
    other_params = browser.post("/api/v1/jobs?wait=30", json={**named, "params": {"gain": 3}})

    assert needed.status_code == 409
    assert needed.json()["error"]["code"] == "upload_needed"
    assert lenient.status_code == 202 and lenient.json()["upload"]["url"]
    assert first.json()["state"] == "done"
    assert hit.status_code == 200 and hit.json()["cached"]
    assert other_params.status_code == 200 and not other_params.json()["cached"]


def test_a_file_sent_as_a_body_is_known_by_its_hash(browser: httpx.Client, fresh: bytes) -> None:
    predict(browser, fresh)

    hit = browser.post(
        "/api/v1/jobs", json={"sha256": hashlib.sha256(fresh).hexdigest(), "model": "toy"}
    )

    assert hit.status_code == 200 and hit.json()["cached"]


def test_bytes_that_are_not_what_was_declared_are_refused(
    browser: httpx.Client, fresh: bytes
) -> None:
    declared = {"sha256": "0" * 64, "size": len(fresh), "type": "image/png"}
    upload = browser.post("/api/v1/uploads", json=declared).json()["upload"]
    httpx.put(upload["url"], content=fresh, headers=upload["headers"]).raise_for_status()

    job = browser.post("/api/v1/jobs?wait=30", json={"upload": upload["id"], "model": "toy"})

    assert job.status_code == 422 and job.json()["error"]["code"] == "hash_mismatch"


def test_uploads_that_never_came_or_are_not_ones_own_are_refused(
    browser: httpx.Client, other: httpx.Client
) -> None:
    upload = browser.post("/api/v1/uploads", json={"size": 9}).json()["upload"]
    body = {"upload": upload["id"], "model": "toy"}

    mine, theirs = browser.post("/api/v1/jobs", json=body), other.post("/api/v1/jobs", json=body)

    assert mine.status_code == 409 and mine.json()["error"]["code"] == "not_uploaded"
    assert theirs.status_code == 404


def test_several_uploads_are_answered_as_a_list(browser: httpx.Client, fresh: bytes) -> None:
    ids = []
    for _ in range(3):
        place = browser.post("/api/v1/uploads", json={"size": len(fresh), "type": "image/png"})
        upload = place.json()["upload"]
        httpx.put(upload["url"], content=fresh, headers=upload["headers"]).raise_for_status()
        ids.append(upload["id"])

    answer = browser.post("/api/v1/jobs?wait=30", json={"uploads": ids, "model": "toy"})

    assert [job["state"] for job in answer.json()] == ["done"] * 3


def test_signed_addresses_take_exactly_what_was_signed(browser: httpx.Client) -> None:
    upload = browser.post("/api/v1/uploads", json={"size": 9}).json()["upload"]

    longer = httpx.put(upload["url"], content=bytes(10), headers=upload["headers"])
    unsigned = httpx.get(upload["url"].split("?")[0])

    assert longer.status_code == 403
    assert unsigned.status_code == 403 and unsigned.json()["error"]["code"] == "not_signed"


def test_a_range_of_a_result_can_be_read(browser: httpx.Client, fresh: bytes) -> None:
    url = predict(browser, fresh).json()["result"]["objects"]["preview"]["url"]

    part = httpx.get(url, headers={"Range": "bytes=0-7"})

    assert part.status_code == 206 and part.content == b"\x89PNG\r\n\x1a\n"


def test_a_forged_host_signs_nothing(browser: httpx.Client, fresh: bytes) -> None:
    answer = browser.post(f"{PREDICT}/toy", content=fresh, headers={"Host": "evil.example"})

    assert answer.status_code == 421 and answer.json()["error"]["code"] == "unknown_host"


def test_a_key_acts_for_its_user_and_a_wrong_one_for_nobody(stack: Stack, fresh: bytes) -> None:
    right = {"Authorization": f"Bearer {stack.api_key}"}
    first = httpx.post(f"{stack.url}{PREDICT}/toy?wait=30", content=fresh, headers=right)

    again = httpx.post(f"{stack.url}{PREDICT}/toy?wait=30", content=fresh, headers=right)
    wrong = httpx.get(f"{stack.url}/api/v1/models", headers={"Authorization": "Bearer nope"})

    assert "set-cookie" not in first.headers
    assert again.json()["cached"]
    assert wrong.status_code == 401 and wrong.json()["error"]["code"] == "not_signed_in"


def test_a_model_in_one_file_appears_with_its_schema(browser: httpx.Client) -> None:
    models = {model["name"]: model for model in browser.get("/api/v1/models").json()["models"]}

    toy = models["toy"]

    assert toy["live"] and toy["title"] == "Toy brightener"
    assert toy["params"]["properties"]["gain"]["maximum"] == 4


def test_the_toy_model_does_its_work(browser: httpx.Client, fresh: bytes) -> None:
    job = predict(browser, fresh, gain=0).json()

    picture = httpx.get(job["result"]["objects"]["preview"]["url"]).content
    assert (np.asarray(Image.open(io.BytesIO(picture))) == 0).all()
    assert job["result"]["data"] == {"gain": 0}


def test_the_documents_and_health_answer(browser: httpx.Client) -> None:
    schema = browser.get("/openapi.json").json()

    paths = {"/predict/{model}", "/uploads", "/jobs", "/jobs/{job_id}", "/models"}
    assert {f"/api/v1{path}" for path in paths} <= set(schema["paths"])
    assert "Job" in schema["components"]["schemas"]
    assert browser.get("/docs").status_code == 200
    assert browser.get("/healthz").json()["ok"] is True
    assert browser.get("/readyz").json() == {"ok": True, "down": [], "refuses_new_work": []}
    assert browser.get("/nowhere").json()["error"]["code"] == "not_found"


def test_the_web_process_never_loads_torch(stack: Stack) -> None:
    code = "import sys, web.app; web.app.create(); print('torch' in sys.modules)"

    out = subprocess.run(
        [sys.executable, "-c", code], env=stack.env, cwd=REPOSITORY, capture_output=True, text=True
    )

    assert out.stdout.strip().endswith("False"), out.stderr


def test_a_cache_that_is_away_stops_no_job(
    stack: Stack, browser: httpx.Client, fresh: bytes
) -> None:
    cache = stack.client("cache")
    cache.config_set("maxmemory-policy", "noeviction")
    cache.config_set("maxmemory", "1")  # whatever is written is refused
    try:
        job = predict(browser, fresh, gain=1.25).json()
    finally:
        cache.config_set("maxmemory", "0")
        cache.config_set("maxmemory-policy", "allkeys-lru")

    assert job["state"] == "done"
