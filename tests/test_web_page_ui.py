"""The page as Gradio serves it: what is switched off, what is asked of Python, what it weighs."""

import gzip
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from tasks.settings import settings
from web.page import ui

CARD = {
    "name": "blur",
    "title": "Blur",
    "params": {"type": "object", "properties": {"radius": {"type": "integer", "default": 3}}},
}
SCRIPTS = sorted(ui.STATIC.glob("*.js"))
"""Loaded with the page."""
LATER = sorted(script for part in ("photo", "result") for script in (ui.STATIC / part).glob("*.js"))
"""Loaded with the first photo: how it is sent; the viewer with brush, edge, shadow and grounds."""
PARTS = ("history", "sources", "batch", "remote", "quota", "colour", "data")
SELDOM = sorted(script for part in PARTS for script in (ui.STATIC / part).glob("*.js"))
"""Loaded when somebody asks for what they do."""
MOST_KIB = 23
MOST_LATER_KIB = 53
"""Raised by what volumes and the choice of a subject need; the whole page, 300 KB, is the goal, of
which test_web_page_access.py sees what is loaded."""


async def one_model() -> list[dict[str, Any]]:
    return [CARD]


def client_of(user_of: Callable[[Request], str | None]) -> httpx.AsyncClient:
    app = ui.mount(FastAPI(), one_model, user_of)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(lambda request: None) as client:
        yield client


async def test_an_open_page_needs_no_identity(client: httpx.AsyncClient):
    assert (await client.get("/ui/")).status_code == 200


async def test_a_closed_page_answers_401_to_strangers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings(), "auth", "accounts")

    async with client_of(lambda request: request.headers.get("user")) as client:
        assert (await client.get("/ui/")).status_code == 401
        assert (await client.get("/ui/", headers={"user": "ada"})).status_code == 200


async def test_the_page_is_told_the_largest_size_of_an_upload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings(), "max_upload_mib", 7.5)

    async with client_of(lambda request: None) as client:
        assert "mountWorkbench(element, 7.5, 256)" in (await client.get("/ui/config")).text


async def test_gradio_keeps_and_tells_nothing(client: httpx.AsyncClient):
    config = (await client.get("/ui/config")).json()

    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert config["footer_links"] == []
    assert config["connect_heartbeat"] is False, "an idle tab would hold a connection"
    assert (await client.get("/ui/monitoring/summary")).status_code == 403
    assert (await client.get("/ui/gradio_api/runs")).status_code == 404


async def test_the_page_asks_python_for_the_form_only(client: httpx.AsyncClient):
    config = (await client.get("/ui/config")).json()

    asked = [item for item in config["dependencies"] if item["backend_fn"]]
    assert [item["queue"] for item in asked] == [False]


async def test_nothing_is_loaded_from_elsewhere(client: httpx.AsyncClient):
    page = (await client.get("/ui/")).text

    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert loaded == []


async def test_every_module_is_asked_for_at_once(client: httpx.AsyncClient):
    page = (await client.get("/ui/")).text

    assert all(f"/static/{script.name}" in page for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS + LATER + SELDOM, ids=lambda path: path.name)
def test_the_modules_are_valid_javascript(script: Any):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here; the browser tests load every module")

    subprocess.run([node, "--check", script], check=True)


@pytest.mark.parametrize(
    ("scripts", "most_kib"), [(SCRIPTS, MOST_KIB), (LATER, MOST_LATER_KIB)], ids=["page", "later"]
)
def test_the_javascript_stays_light(scripts: list[Path], most_kib: int):
    total = sum(len(gzip.compress(script.read_bytes(), 9)) for script in scripts)

    assert total <= most_kib * 1024, f"{total} bytes gzipped"
