"""Scripts and styles are compressed once, as well as Brotli can."""

import asyncio
from pathlib import Path

import brotli
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from web.middleware.compressed import BEST, QUICK, Compressed

SCRIPT = "".join(f"export const name{n} = {n * n % 977};\n" for n in range(2000))
BROTLI = {"accept-encoding": "gzip, br"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.js", "a.css", "a.webp"):
        (tmp_path / name).write_text(SCRIPT)
    (tmp_path / "small.js").write_text("export {};")
    return tmp_path


@pytest.fixture
def client(files: Path) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount("/x", Compressed(StaticFiles(directory=files)))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a")


async def sizes(client: httpx.AsyncClient, path: str) -> tuple[int, int]:
    """Of the first answer, and of one soon after it; both have the whole text."""
    found = []
    for _ in range(2):
        answer = await client.get(path, headers=BROTLI)
        assert answer.text == SCRIPT
        assert answer.headers["content-encoding"] == "br"
        assert "accept-ranges" not in answer.headers
        found.append(int(answer.headers["content-length"]))
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)
    return found[0], found[1]


@pytest.mark.parametrize("path", ["/x/a.js", "/x/a.css"])
async def test_the_first_answer_comes_quickly_and_the_next_is_smaller(
    client: httpx.AsyncClient, path: str
) -> None:
    first, second = await sizes(client, path)

    assert first == len(brotli.compress(SCRIPT.encode(), quality=QUICK))
    assert second == len(brotli.compress(SCRIPT.encode(), quality=BEST)) < first


async def test_a_file_that_changes_is_compressed_again(
    client: httpx.AsyncClient, files: Path
) -> None:
    await sizes(client, "/x/a.js")
    (files / "a.js").write_text("new();" * 100)

    assert (await client.get("/x/a.js", headers=BROTLI)).text == "new();" * 100


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/x/a.js", {"accept-encoding": "gzip"}),
        ("/x/a.js", {"accept-encoding": "gzip, br;q=0"}),
        ("/x/a.webp", BROTLI),
        ("/x/small.js", BROTLI),
        ("/x/none.js", BROTLI),
        ("/x/a.js", {**BROTLI, "range": "bytes=0-99"}),
    ],
)
async def test_anything_else_is_answered_as_without_it(
    client: httpx.AsyncClient, files: Path, path: str, headers: dict[str, str]
) -> None:
    plain = Starlette(routes=[Mount("/x", StaticFiles(directory=files))])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(plain), base_url="http://a"
    ) as other:
        expected = await other.get(path, headers=headers)

    answer = await client.get(path, headers=headers)

    assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    assert "content-encoding" not in answer.headers


async def test_a_copy_that_is_still_right_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/x/a.js", headers=BROTLI)

    again = await client.get("/x/a.js", headers={**BROTLI, "if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
