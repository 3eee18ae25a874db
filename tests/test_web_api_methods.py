"""Methods, slashes and misspelt paths: HEAD, OPTIONS, 405 and what is named instead of a 404."""

import httpx
import pytest
from stack import API_KEY, Stack

KEY = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture
def job_id(stack: Stack, photo: bytes) -> str:
    url = f"{stack.url}/api/v1/predict/toy?wait=60"
    return str(httpx.post(url, content=photo, headers=KEY, timeout=90).json()["id"])


@pytest.mark.parametrize(
    "path",
    ["/", "/ui/", "/healthz", "/readyz", "/metrics", "/metrics/workers", "/docs", "/openapi.json",
     "/login", "/static/page.css", "/docs/assets/swagger-ui.css", "/api/v1/models",
     "/api/v1/events"],
)  # fmt: skip
def test_head_is_answered_as_get_without_a_body(stack: Stack, path: str) -> None:
    answer = httpx.head(f"{stack.url}{path}", headers=KEY)

    assert answer.status_code in (200, 307) and answer.content == b""
    if path == "/api/v1/models":
        body = httpx.get(f"{stack.url}{path}", headers=KEY).content
        assert int(answer.headers["content-length"]) == len(body)


def test_head_of_a_job_and_its_picture(stack: Stack, job_id: str) -> None:
    job = httpx.get(f"{stack.url}/api/v1/jobs/{job_id}", headers=KEY).json()
    url = job["result"]["objects"]["preview"]["url"]

    heads = [httpx.head(f"{stack.url}/api/v1/jobs/{job_id}{rest}", headers=KEY)
             for rest in ("", "/events")]  # fmt: skip
    picture, missing = httpx.head(url), httpx.head(f"{stack.url}/api/v1/jobs/{'0' * 32}")

    assert [head.status_code for head in heads] == [200, 200]
    assert heads[1].headers["content-type"].startswith("text/event-stream")
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/png"
    assert int(picture.headers["content-length"]) == len(httpx.get(url).content)
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/models", "GET, HEAD, OPTIONS"),
        ("GET", "/api/v1/predict/toy", "OPTIONS, POST, PUT"),
        ("PATCH", f"/api/v1/jobs/{'0' * 32}", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/api/v1/uploads", "OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("HEAD", "/api/v1/uploads", "OPTIONS, POST"),
        ("POST", "/static/page.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_told_which_there_are(
    stack: Stack, method: str, path: str, allowed: str
) -> None:
    answer = httpx.request(method, f"{stack.url}{path}", headers=KEY)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        error = answer.json()["error"]
        assert error["code"] == "method_not_allowed" and method in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [("POST", "/predict/toy", 404, "/api/v1/predict/{model}"),
     ("POST", "/api/v1/predict", 404, "POST or PUT /api/v1/predict/{model}"),
     ("PATCH", "/api/v1/predict/toy", 405, "PATCH"), ("POST", "/api/v1/models", 405, "POST"),
     ("POST", "/api/v1/jobs", 415, "application/json")],
)  # fmt: skip
def test_a_photo_at_a_wrong_address_is_told_about_the_address(
    stack: Stack, photo: bytes, method: str, path: str, status: int, said: str
) -> None:
    answer = httpx.request(method, f"{stack.url}{path}", content=photo[:9000], headers=KEY)

    assert answer.status_code == status and said in answer.text


@pytest.mark.parametrize("path", ["/api/v1/predict/toy", "/api/v1/models", "/healthz"])
def test_options_are_answered(stack: Stack, path: str) -> None:
    answer = httpx.options(f"{stack.url}{path}", headers=KEY)

    assert answer.status_code == 204 and "OPTIONS" in answer.headers["allow"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/api/v1/models/", "/healthz/", "/metrics/", "/docs/", "/login/", "/openapi.json/"]
)
def test_a_slash_at_the_end_changes_nothing(stack: Stack, path: str) -> None:
    assert httpx.get(f"{stack.url}{path}", headers=KEY).status_code == 200


def test_a_slash_at_the_end_loses_no_body(stack: Stack, photo: bytes) -> None:
    predict = httpx.post(f"{stack.url}/api/v1/predict/toy/?wait=0", content=photo, headers=KEY)
    upload = httpx.post(f"{stack.url}/api/v1/uploads/", json={"size": 9}, headers=KEY)

    assert predict.status_code in (200, 202) and upload.status_code == 200


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/v1/predict", "POST or PUT /api/v1/predict/{model}"),
        ("/api/v1/predicts/toy", "/api/v1/predict/{model}"),
        ("/predict/toy", "/api/v1/predict/{model}"),
        ("/api/predict/toy", "/api/v1/predict/{model}"),
        ("/api/v1/model", "GET /api/v1/models"),
        ("/api/v1/job/123", "/api/v1/jobs/{job_id}"),
        ("/api/v1/upload", "POST /api/v1/uploads"),
    ],
)
def test_a_path_that_does_not_exist_names_what_is_like_it(
    stack: Stack, path: str, meant: str
) -> None:
    error = httpx.post(f"{stack.url}{path}", headers=KEY).json()["error"]

    assert error["code"] == "not_found" and meant in error["hint"], error


def test_nothing_is_named_for_what_is_like_nothing(stack: Stack) -> None:
    error = httpx.get(f"{stack.url}/wp-login.php", headers=KEY).json()["error"]

    assert "Did you mean" not in error["hint"]


@pytest.mark.parametrize("type", ["image/jpg", "image/pjpeg", "image/jpeg"])
def test_a_jpeg_by_any_of_its_names_may_be_uploaded(stack: Stack, photo: bytes, type: str) -> None:
    asked = {"size": len(photo), "type": type}
    answer = httpx.post(f"{stack.url}/api/v1/uploads", json=asked, headers=KEY)
    upload = answer.json()["upload"]

    put = httpx.put(upload["url"], content=photo, headers={"Content-Type": type})
    job = httpx.post(
        f"{stack.url}/api/v1/jobs?wait=60",
        json={"upload": upload["id"], "model": "toy"},
        headers=KEY,
        timeout=90,
    )

    assert (put.status_code, job.json()["state"]) == (200, "done")


def test_the_document_describes_every_body_and_answer_of_predict(stack: Stack) -> None:
    paths = httpx.get(f"{stack.url}/openapi.json").json()["paths"]

    post = paths["/api/v1/predict/{model}"]["post"]
    named = paths["/api/v1/predict/{model}/{filename}"]["put"]
    bodies, answers = post["requestBody"]["content"], post["responses"]["200"]["content"]
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(bodies)
    assert {"application/json", "image/png", "image/webp", "image/avif", "image/jpeg"} == set(
        answers
    )
    assert "Location" in post["responses"]["202"]["headers"]
    assert {item["name"] for item in named["parameters"] if item["in"] == "path"} == {
        "model", "filename",
    }  # fmt: skip
