"""The page is made in the background: requests to it wait, and nothing else does."""

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from anyio import create_task_group, fail_after, sleep
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from web.page import deferred
from web.page.deferred import DeferredPage


class Made:
    """Makes a small page, when it is let, and counts."""

    def __init__(self) -> None:
        self.let, self.times, self.events = threading.Event(), 0, list[str]()

    def __call__(self) -> FastAPI:
        assert self.let.wait(10)
        self.times += 1
        app = FastAPI(lifespan=self.lifespan)
        app.mount("/ui", PlainTextResponse("the page"))
        return app

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.events.append("begins")
        yield
        self.events.append("ends")


def client_of(page: DeferredPage) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url="http://page")


async def test_requests_wait_for_the_page_which_is_made_once() -> None:
    made = Made()
    page, answers = DeferredPage(made), list[str]()

    async def ask(client: httpx.AsyncClient) -> None:
        answers.append((await client.get("/ui/")).text)

    async with client_of(page) as client, create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask, client)
        await sleep(0.05)
        assert answers == [], "and the event loop goes on meanwhile"
        made.let.set()

    assert answers == ["the page"] * 3 and made.times == 1
    await page.stop()
    assert made.events == ["begins", "ends"]


async def test_a_page_that_cannot_be_made_fails_requests_to_it_with_the_reason() -> None:
    def broken() -> FastAPI:
        raise ImportError("no such package")

    async with client_of(DeferredPage(broken)) as client:
        for _ in range(2):
            with pytest.raises(ImportError, match="no such package"):
                await client.get("/ui/")


async def test_a_page_that_could_not_be_made_is_made_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries, made = list[str](), Made()
    made.let.set()

    def at_first_broken() -> FastAPI:
        tries.append("try")
        if len(tries) == 1:
            raise MemoryError
        return made()

    page = DeferredPage(at_first_broken)
    async with client_of(page) as client:
        for _ in range(3):
            with pytest.raises(MemoryError):
                await client.get("/ui/")
        tries_at_once = len(tries)
        monkeypatch.setattr(page, "_retry_s", 0)  # the pause is over

        assert (await client.get("/ui/")).text == "the page"
    assert (tries_at_once, len(tries)) == (1, 2)
    await page.stop()


async def test_a_process_that_stops_does_not_wait_for_the_page() -> None:
    made = Made()
    page = DeferredPage(made)

    async with create_task_group() as group:
        group.start_soon(page.ready)
        await sleep(0.05)
        with fail_after(1):
            await page.stop()
        made.let.set()


async def test_the_page_is_made_once_a_model_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "LOOK_S", 0.01)
    monkeypatch.setattr(deferred, "CALM_S", 0)
    made, live = Made(), [False]
    made.let.set()

    async def is_live() -> bool:
        return live[0]

    async with create_task_group() as group:
        page = DeferredPage(made)
        group.start_soon(page.begin, is_live)
        await sleep(0.1)
        assert made.times == 0
        live[0] = True
    assert made.times == 1
    await page.stop()


def test_gradio_is_imported_without_what_the_page_does_not_use() -> None:
    code = (
        "import sys, web.app; page = web.app._make_page(None); "
        "assert 'gradio' in sys.modules and 'mcp' not in sys.modules; "
        "assert 'pandas.core' not in sys.modules; "
        "import mcp, pandas; from pandas.io.formats.style import Styler; "
        "assert list(pandas.DataFrame({'a': [1]})['a']) == [1]"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}

    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0


def test_a_web_process_answers_before_it_has_imported_gradio() -> None:
    code = "import sys, web.app; web.app.create(); sys.exit('gradio' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}

    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0
