"""Quotas on a whole installation: counted, refused, told, and the same for all web processes."""

import io
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from stack import MODEL_PATHS, Stack

from storage import api_keys, keys, quotas
from storage.quota_kinds import Name
from storage.redis.calls import SyncRedis

ME, PREDICT = "/api/v1/me", "/api/v1/predict/toy?wait=60"
JOBS = "/api/v1/jobs?wait=60"
MIB = 2**20
ENV = {
    "PIXELMILL_MODELS": "toy",
    "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
    "PIXELMILL_IMAGES_PER_HOUR": "1000",
    "PIXELMILL_TRUSTED_PROXIES": "10.0.0.1",  # so that this machine is an address like others
}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("quotas"), ENV) as mill:
        yield mill.start_all()


@pytest.fixture(scope="module")
def other_url(mill: Stack) -> str:
    """Address of a second web process."""
    return mill.start_another_web()


class User:
    """Somebody with a key and nothing used so far."""

    def __init__(self, mill: Stack) -> None:
        self.name, self._mill = f"user{time.monotonic_ns()}", mill
        key = api_keys.new_secret()
        mill_link(mill).do(api_keys.add(key, self.name))
        self.headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=mill.url, headers=self.headers, timeout=90)

    def may(self, name: Name, most: int) -> None:
        mill_link(self._mill).do(quotas.set_own(self.name, name, most))

    def limits(self) -> dict[str, dict[str, int | None]]:
        limits: dict[str, dict[str, int | None]] = self.http.get(ME).json()["limits"]
        return limits

    def send(self, photo: bytes) -> httpx.Response:
        return self.http.post(PREDICT, content=photo)


def mill_link(mill: Stack) -> SyncRedis:
    return SyncRedis(mill.state)


def new_photo() -> bytes:
    pixels = np.random.default_rng(time.monotonic_ns()).integers(0, 255, (64, 64, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def uploaded(user: User) -> str:
    """The id of an upload whose bytes have arrived."""
    photo = new_photo()
    asked = {"size": len(photo), "type": "image/png"}
    upload = user.http.post("/api/v1/uploads", json=asked).json()["upload"]
    httpx.put(upload["url"], content=photo, headers=upload["headers"]).raise_for_status()
    return str(upload["id"])


@pytest.fixture
def user(mill: Stack) -> Iterator[User]:
    user = User(mill)
    yield user
    user.http.close()


def test_me_tells_what_is_left_before_anything_is_sent(user: User) -> None:
    limits = user.limits()

    assert limits["images_per_hour"] == {
        "limit": 1000, "used": 0, "left": 1000, "window_s": 3600, "resets_in_s": None,
    }  # fmt: skip
    assert limits["bytes_per_day"]["limit"] is None
    assert limits["jobs_in_flight"]["limit"] == 64


def test_a_new_image_counts_and_a_known_one_does_not(user: User) -> None:
    photo = new_photo()

    first, again = user.send(photo), user.send(photo)

    limits = user.limits()
    assert (first.status_code, again.json()["cached"]) == (200, True)
    assert limits["images_per_hour"]["used"] == 1
    assert limits["bytes_per_hour"]["used"] == len(photo)
    assert "ratelimit" not in again.headers


def test_an_answer_says_what_is_left_as_the_draft_wants_it(user: User) -> None:
    user.may("bytes_per_day", MIB)

    photo = new_photo()
    headers = user.send(photo).headers

    assert headers["ratelimit-policy"] == (
        '"images_per_hour";q=1000;w=3600, '
        '"bytes_per_day";q=1048576;qu="content-bytes";w=86400, '
        '"jobs_in_flight";q=64;qu="concurrent-requests"'
    )
    left = dict(item.split(";r=") for item in headers["ratelimit"].split(", "))
    assert left['"images_per_hour"'] in ("999;t=3600", "999;t=3599")
    assert left['"bytes_per_day"'].startswith(f"{MIB - len(photo)};t=86")
    assert left['"jobs_in_flight"'] == "63"


def test_the_document_declares_the_limits_of_every_answer_that_has_them(user: User) -> None:
    user.may("images_per_hour", 1)
    upload = user.http.post("/api/v1/uploads", json={"size": 99, "type": "image/png"})
    answers = {
        "/api/v1/uploads": [upload],
        "/api/v1/predict/{model}": [user.send(new_photo()), user.send(new_photo())],
    }

    paths = user.http.get("/openapi.json").json()["paths"]
    for path, sent in answers.items():
        for answer in sent:
            declared = paths[path]["post"]["responses"][str(answer.status_code)]["headers"]
            assert {"ratelimit", "ratelimit-policy"} <= answer.headers.keys()
            assert {"RateLimit", "RateLimit-Policy"} <= declared.keys(), (path, answer)
    assert "RateLimit" in paths["/api/v1/jobs"]["post"]["responses"]["202"]["headers"]


def test_a_used_up_quota_is_refused_with_its_name_value_and_time(user: User) -> None:
    user.may("images_per_hour", 1)
    user.send(new_photo())

    refused = user.send(new_photo())

    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["code"], error["limit"], error["value"]) == ("busy", "images_per_hour", 1)
    assert 3500 < error["retry_after_s"] <= 3600
    assert refused.headers["retry-after"] == str(error["retry_after_s"])
    assert refused.headers["ratelimit"] == f'"images_per_hour";r=0;t={error["retry_after_s"]}'
    assert error["message"] == "1 images were used of this hour's quota; the limit is 1"


def test_a_known_result_is_answered_however_much_was_used(user: User) -> None:
    photo = new_photo()
    user.send(photo)
    user.may("images_per_hour", 1)

    assert user.send(photo).status_code == 200


def test_bytes_count_when_an_address_for_them_is_signed(user: User) -> None:
    user.may("bytes_per_hour", 1000)
    asked = {"size": 600, "type": "image/png"}

    first, second = (user.http.post("/api/v1/uploads", json=asked) for _ in range(2))

    assert first.status_code == 200 and '"bytes_per_hour";r=400' in first.headers["ratelimit"]
    assert second.status_code == 429 and second.json()["error"]["limit"] == "bytes_per_hour"


def test_stored_bytes_are_those_of_uploads_and_results_until_they_are_deleted(user: User) -> None:
    photo = new_photo()
    job = user.send(photo).json()

    stored = user.limits()["stored_bytes"]["used"]
    made = sum(picture["bytes"] for picture in job["result"]["objects"].values())
    user.http.delete(f"/api/v1/jobs/{job['id']}")

    assert stored and stored >= len(photo) + made, "there is a thumbnail too"
    assert user.limits()["stored_bytes"]["used"] == 0


def test_an_upload_is_counted_once(user: User) -> None:
    photo = new_photo()
    asked = {"size": len(photo), "type": "image/png"}
    upload = user.http.post("/api/v1/uploads", json=asked).json()["upload"]
    signed = user.limits()["stored_bytes"]["used"]
    httpx.put(upload["url"], content=photo, headers=upload["headers"])

    asked = {"model": "toy", "upload": upload["id"]}
    job = user.http.post("/api/v1/jobs?wait=60", json=asked).json()

    made = sum(picture["bytes"] for picture in job["result"]["objects"].values())
    assert signed == len(photo)
    stored = user.limits()["stored_bytes"]["used"]
    assert stored and len(photo) + made <= stored < 2 * len(photo) + made
    assert user.limits()["bytes_per_hour"]["used"] == len(photo)


def test_nothing_new_is_stored_above_the_quota(user: User) -> None:
    user.may("stored_bytes", 100)

    refused = user.send(new_photo())

    assert refused.status_code == 429
    assert refused.json()["error"]["limit"] == "stored_bytes"
    assert "are stored for you" in refused.json()["error"]["message"]


def test_a_users_own_number_of_jobs_in_flight_holds(user: User) -> None:
    user.may("jobs_in_flight", 2)
    for number in range(2):
        user._mill.state.zadd(keys.user_runs(user.name), {keys.run(f"r{number}"): number + 1})
        user._mill.state.hset(keys.run(f"r{number}"), mapping={"state": "queued"})

    refused = user.send(new_photo())

    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["limit"], error["value"]) == ("max_in_flight", 2)


def test_web_processes_count_together(user: User, other_url: str) -> None:
    user.may("images_per_hour", 6)

    with httpx.Client(base_url=other_url, headers=user.headers, timeout=90) as there:
        statuses = [
            (user.http if turn % 2 else there).post(PREDICT, content=new_photo()).status_code
            for turn in range(10)
        ]

    assert statuses == [200] * 6 + [429] * 4


def test_a_list_that_a_quota_cuts_names_what_was_started_and_goes_on_by_its_key(
    user: User,
) -> None:
    asked = {"model": "toy", "uploads": [uploaded(user) for _ in range(3)]}
    key = {"Idempotency-Key": user.name}
    user.may("images_per_hour", 2)

    refused = user.http.post(JOBS, json=asked, headers=key)
    user.may("images_per_hour", 3)
    complete = user.http.post(JOBS, json=asked, headers=key)

    assert refused.status_code == 429
    started = refused.json()["error"]["jobs"]
    assert len(started) == 3 and started.count(None) == 1
    ids = [job["id"] for job in complete.json()]
    assert [new for old, new in zip(started, ids, strict=True) if old] == [
        old for old in started if old
    ]
    assert len(user.http.get("/api/v1/jobs").json()["jobs"]) == 3


def test_a_list_of_which_nothing_could_be_started_names_no_jobs(user: User) -> None:
    asked = {"model": "toy", "uploads": [uploaded(user) for _ in range(2)]}
    user.may("images_per_hour", 1)
    user.send(new_photo())

    refused = user.http.post(JOBS, json=asked)

    assert refused.status_code == 429 and "jobs" not in refused.json()["error"]


def test_a_new_identity_from_the_same_address_has_no_new_quota(mill: Stack) -> None:
    with httpx.Client(base_url=mill.url, timeout=90) as first:
        first.post(PREDICT, content=new_photo())
        used = first.get(ME).json()

    fresh = httpx.get(f"{mill.url}{ME}").json()

    assert fresh["user"] != used["user"]
    assert fresh["limits"]["images_per_hour"]["used"] == 1
    assert not any(b"127.0.0.1" in name for name in mill.state.scan_iter("*"))
