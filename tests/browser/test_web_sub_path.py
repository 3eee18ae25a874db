"""An installation below a path of its host, `https://host/mill`, behind nginx with TLS."""

import ssl
import time
from collections.abc import Iterator
from typing import Any

import actions
import httpx
import pytest
from balancers import certify, require, running, settings_of
from playwright.sync_api import Browser
from stack import API_KEY, Stack, free_port

KEY = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module")
def mill(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a web process of its own, of the installation of all tests."""
    require("nginx")
    folder, port = tmp_path_factory.mktemp("mill"), free_port()
    certify(folder, "IP:127.0.0.1")
    url = f"https://127.0.0.1:{port}/mill"
    env = {"PIXELMILL_PUBLIC_URL": url, "PIXELMILL_SECRET": stack.env["PIXELMILL_SECRET"]}
    with Stack(folder, env) as below:
        below.use_servers_of(stack)
        below.start_web()
        web = [f"127.0.0.1:{below.ports['web']}"]
        with running("nginx", folder, settings_of(url, below.env["PIXELMILL_S3_URL"]), web, port):
            verify = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            with httpx.Client(base_url=url, verify=verify, headers=KEY, timeout=60) as client:
                yield client


def test_a_person_gets_a_cut_out_and_finds_every_page(mill: httpx.Client, browser: Browser) -> None:
    url = str(mill.base_url).rstrip("/")
    context = browser.new_context(ignore_https_errors=True, locale="en-GB")
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.extend(_outside(request.url, url)))

    page.goto(url)
    page.wait_for_selector(".pm-chooser :checked")
    actions.pick(page, actions.as_file(actions.bottle(), "PNG"))
    actions.drawn(page)
    page.get_by_role("button", name="History").click()
    page.wait_for_selector(".tiles li")
    titles = {}
    for path in ("docs", "account", "login"):
        page.goto(f"{url}/{path}")
        titles[path] = page.title()
    page.locator("header a").first.click()
    page.wait_for_url(f"{url}/ui/")

    cookies = {cookie["name"].partition("pixelmill")[0]: cookie for cookie in context.cookies()}
    context.close()
    assert not wrong
    assert titles == {name: f"Pixelmill: {title}" for name, title in
                      (("docs", "API"), ("account", "account"), ("login", "sign in"))}  # fmt: skip
    assert cookies["__Host-"]["secure"]


def _outside(url: str, home: str) -> list[str]:
    return [] if url.startswith((f"{home}/", home, "data:", "blob:")) else [f"outside: {url}"]


def test_a_program_sends_a_photo_by_a_signed_address(mill: httpx.Client, photo: bytes) -> None:
    asked = mill.post("api/v1/uploads", json={"size": len(photo), "type": "image/jpeg"})
    upload = asked.json()["upload"]
    put = httpx.put(upload["url"], content=photo, headers=upload["headers"], verify=False)
    job = mill.post("api/v1/jobs", json={"upload": upload["id"], "model": "matting"})
    with mill.stream("GET", f"{job.headers['location'].removeprefix('/mill/')}/events") as events:
        events.read()  # they end with the job
    done = mill.get(f"api/v1/jobs/{job.json()['id']}").json()

    assert put.status_code == 200
    assert job.headers["location"] == f"/mill/api/v1/jobs/{job.json()['id']}"
    address = done["result"]["objects"]["preview"]["url"]
    assert address.startswith(str(mill.base_url))
    assert mill.get(address, headers={"Authorization": ""}).content[8:12] == b"WEBP"


def test_events_arrive_while_the_job_is_still_in_progress(mill: httpx.Client, photo: bytes) -> None:
    query: dict[str, Any] = {"device_s": 3, "salt": time.time_ns() % 2**31}
    job = mill.post("api/v1/predict/slow", params={**query, "wait": 0}, content=photo).json()
    with mill.stream("GET", f"api/v1/jobs/{job['id']}/events") as answer:
        first = next(answer.iter_text())
    state = mill.get(f"api/v1/jobs/{job['id']}").json()["state"]

    assert "event" in first or "data" in first or "retry" in first
    assert state not in ("done", "failed")
    mill.delete(f"api/v1/jobs/{job['id']}")


def test_gradio_clients_are_told_where_to_call(mill: httpx.Client) -> None:
    url = str(mill.base_url).rstrip("/")

    assert mill.get("config").json()["root"] == url
    assert mill.get("ui/config").json()["root"] == f"{url}/ui"


def test_the_document_of_the_api_says_where_it_is(mill: httpx.Client) -> None:
    assert mill.get("openapi.json").json()["servers"] == [{"url": "/mill"}]
