"""CORS: pages of the origins that are set may call the API with a key, and nobody else may."""

import sys
from collections.abc import Iterator

import httpx
import pytest
from stack import API_KEY, Stack, free_port

SHOP = "https://shop.example"
EVIL = "https://evil.example"
KEY = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module")
def open_to(stack: Stack) -> Iterator[dict[str, str]]:
    """Addresses of web processes: `shop` is open to pages of one origin, `all` to everybody's."""
    origins = {"shop": f"{SHOP}/, https://other.example", "all": "*"}
    urls = {}
    for name, origin in origins.items():
        port = free_port()
        env = {"PIXELMILL_PORT": str(port), "PIXELMILL_CORS_ORIGINS": origin}
        stack.start(f"web-{name}", [sys.executable, "-m", "web"], env)
        urls[name] = f"http://127.0.0.1:{port}"
    for name, url in urls.items():
        stack.wait_for(f"web-{name}", lambda url=url: httpx.get(f"{url}/healthz").is_success)
    yield urls
    for name in origins:
        process = stack.processes.pop(f"web-{name}")
        process.terminate()
        process.wait(30)


def preflight(url: str, origin: str, method: str = "PUT") -> httpx.Response:
    return httpx.options(
        f"{url}/api/v1/predict/toy",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            "Sec-Fetch-Site": "cross-site",
        },
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_preflight_of_an_origin_that_is_set_is_allowed(
    open_to: dict[str, str], method: str
) -> None:
    for url, origin in ((open_to["shop"], SHOP), (open_to["all"], EVIL)):
        answer = preflight(url, origin, method)

        assert answer.is_success and answer.headers["access-control-allow-origin"] == origin
        assert method in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type", "idempotency-key", "accept"} <= set(
            allowed.split(", ")
        )
        assert "access-control-allow-credentials" not in answer.headers


def test_any_other_origin_gets_nothing(stack: Stack, open_to: dict[str, str]) -> None:
    for url, origin in ((open_to["shop"], EVIL), (stack.url, SHOP), (open_to["shop"], "null")):
        for answer in (
            preflight(url, origin),
            httpx.get(f"{url}/api/v1/models", headers={**KEY, "Origin": origin}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_with_a_key_sends_a_photo_and_reads_the_answer(
    open_to: dict[str, str], photo: bytes
) -> None:
    headers = {**KEY, "Origin": SHOP, "Sec-Fetch-Site": "cross-site", "Accept": "image/png"}
    url = f"{open_to['shop']}/api/v1/predict/toy?wait=60"

    answer = httpx.post(url, content=photo, headers=headers, timeout=90)
    failure = httpx.post(url, content=b"words", headers=headers)

    assert (answer.status_code, failure.status_code) == (200, 415)
    for each in (answer, failure):
        assert each.headers["access-control-allow-origin"] == SHOP
        assert "X-Pixelmill-Job" in each.headers["access-control-expose-headers"]
        assert "Origin" in each.headers.get_list("vary")


def test_a_page_with_a_key_uploads_to_the_address_that_it_got(
    open_to: dict[str, str], photo: bytes
) -> None:
    foreign = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
    url = f"{open_to['shop']}/api/v1/uploads"
    asked = {"size": len(photo), "type": "image/jpeg"}
    upload = httpx.post(url, json=asked, headers={**KEY, **foreign}).json()["upload"]

    put = httpx.put(upload["url"], content=photo, headers={**upload["headers"], **foreign})
    refused = httpx.put(
        upload["url"], content=photo, headers={**upload["headers"], **foreign, "Origin": EVIL}
    )

    assert put.status_code == 200 and put.headers["access-control-allow-origin"] == SHOP
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_site")


@pytest.mark.parametrize("which", ["shop", "all"])
def test_the_cookie_is_worth_nothing_to_another_site(
    open_to: dict[str, str], photo: bytes, which: str
) -> None:
    with httpx.Client(base_url=open_to[which]) as browser:
        browser.get("/api/v1/models")  # the cookie
        foreign = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}

        post = browser.post("/api/v1/predict/toy", content=photo, headers=foreign)
        read = browser.get("/api/v1/models", headers=foreign)

    assert (post.status_code, post.json()["error"]["code"]) == (403, "cross_site")
    assert post.headers["access-control-allow-origin"] == SHOP, "the page can read why"
    assert "access-control-allow-credentials" not in read.headers, "so no cookie counts"
    assert "set-cookie" not in read.headers


def test_the_page_itself_goes_on_with_its_cookie(open_to: dict[str, str], photo: bytes) -> None:
    with httpx.Client(base_url=open_to["all"], timeout=90) as browser:
        own = {"Origin": open_to["all"], "Sec-Fetch-Site": "same-origin"}
        browser.get("/api/v1/models", headers=own)

        job = browser.post("/api/v1/predict/toy?wait=60", content=photo, headers=own).json()

        assert browser.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "done"
