"""Pictures by their address: what is fetched, what is refused, and that nothing inside is asked."""

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from internet import OTHER_PUBLIC, PUBLIC, Internet, drips, says
from stack import REPOSITORY, Stack

from tasks.errors import BadInput
from tasks.settings import MIB, settings
from web.connections import memory
from web.fetching import download, fetch, network
from web.fetching.targets import Rules, rules
from web.jobs.admission import Busy

pytest_plugins = ["internet"]

URL = "https://photos.example/a.jpg"
SCOPE = {"type": "http", "client": ("192.0.2.9", 1), "headers": [], "extensions": {}}
PICTURE = b"\xff\xd8\xff" + b"picture" * 9_999
PRIVATE = ["10.0.0.5", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.5", "100.64.0.1"]


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that fetches from the public internet, with a memory budget of its own."""
    monkeypatch.setattr(settings(), "fetch_urls", True)
    memory.memory_budget.cache_clear()
    fetch._slots.cache_clear()
    yield
    memory.memory_budget.cache_clear()


@pytest.fixture
def photos(internet: Internet) -> Internet:
    """With a picture at URL."""
    internet.names["photos.example"] = [[PUBLIC]]
    internet.page("/a.jpg", says(200, PICTURE))
    return internet


async def fetched(url: str = URL) -> bytes:
    async with fetch.fetched(SCOPE, url) as data:
        return data


async def refusal(url: str = URL) -> BadInput:
    with pytest.raises(BadInput) as caught:
        await fetched(url)
    return caught.value


# What is fetched


async def test_a_picture_is_fetched_by_its_address(photos: Internet) -> None:
    assert await fetched() == PICTURE


async def test_a_request_says_nothing_of_the_user(photos: Internet) -> None:
    await fetched(f"{URL}#part")

    [head] = photos.asked
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
    assert head.startswith(b"GET /a.jpg HTTP/1.1\r\n") and b"Host: photos.example\r\n" in head
    assert names == {b"host", b"user-agent", b"accept", b"accept-encoding", b"connection"}


async def test_a_body_without_a_declared_length_is_whole(photos: Internet) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    photos.page("/a.jpg", drips([head, b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"], 0))

    assert await fetched() == b"abcde"


async def test_an_address_that_does_not_answer_is_passed_over(photos: Internet) -> None:
    photos.names["photos.example"] = [["1.1.1.1", PUBLIC]]

    assert await fetched() == PICTURE
    assert photos.connected == ["1.1.1.1", PUBLIC]


async def test_a_redirect_is_followed(photos: Internet) -> None:
    photos.names["www.example"] = [[OTHER_PUBLIC]]
    photos.page("/old", says(301, b"", "Location: https://www.example/older"))
    photos.page("/older", says(302, b"", "Location: //photos.example/a.jpg"))

    assert await fetched("https://photos.example/old") == PICTURE
    assert photos.connected == [PUBLIC, OTHER_PUBLIC, PUBLIC]


# Inside our network


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_inside_is_not_connected_to(photos: Internet, address: str) -> None:
    photos.names["photos.example"] = [[PUBLIC, address]]

    assert (await refusal()).code == "not_reached"
    assert photos.connected == [], "not even at its public address"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:10.0.0.5]", "2130706433", "0x7f.1", "localhost"]
)
async def test_no_way_to_write_an_inner_address_helps(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own resolver reads it; the result is checked."""
    connected: list[str] = []
    monkeypatch.setattr(
        network.CheckedNetwork, "_connect", lambda self, *args: connected.append(str(args))
    )

    assert (await refusal(f"https://{host}/a.jpg")).code == "not_reached"
    assert connected == []


async def test_a_name_whose_address_changes_is_connected_to_where_it_was_checked(
    photos: Internet,
) -> None:
    photos.names["photos.example"] = [[PUBLIC], ["127.0.0.1"]]

    assert await fetched() == PICTURE
    assert photos.connected == [PUBLIC], "the name is asked for once"


@pytest.mark.parametrize(
    "location",
    [
        "https://inner.example/a.jpg", "https://10.0.0.5/a.jpg", "http://photos.example/a.jpg",
        "https://photos.example:8443/a.jpg", "https://me:secret@photos.example/a.jpg",
        "file:///etc/passwd", "gopher://photos.example/", "//[::1]/a.jpg", "",
    ],
)  # fmt: skip
async def test_a_redirect_is_checked_like_an_address(photos: Internet, location: str) -> None:
    photos.names["inner.example"] = [["10.0.0.5"]]
    photos.names["10.0.0.5"] = [["10.0.0.5"]]
    photos.names["::1"] = [["::1"]]
    photos.page("/old", says(302, b"", f"Location: {location}"))

    error = await refusal("https://photos.example/old")

    assert error.code in ("not_reached", "not_fetched")
    assert set(photos.connected) == {PUBLIC}


async def test_nobody_can_tell_what_there_is_inside(photos: Internet) -> None:
    photos.names |= {
        "inner.example": [["10.0.0.5"]],  # leads inside
        "closed.example": [["1.1.1.1"]],  # nobody listens
        "wrong.example": [[PUBLIC]],  # its certificate is for another name
    }
    names = ["inner", "closed", "wrong", "missing"]

    errors = [await refusal(f"https://{name}.example/a.jpg") for name in names]

    assert len({(error.code, error.status, str(error), error.hint) for error in errors}) == 1
    assert "10.0.0.5" not in str(errors[0])


async def test_a_certificate_of_another_name_is_refused(photos: Internet) -> None:
    photos.names["elsewhere.example"] = [[PUBLIC]]

    assert (await refusal("https://elsewhere.example/a.jpg")).code == "not_reached"
    assert photos.asked == [], "nothing was sent to it"


# Addresses that are not asked at all


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/a.jpg", "ftp://photos.example/a", "file:///etc/passwd", "a.jpg",
        "https://", "https:///a.jpg", "https://photos.example:22/a.jpg", "data:image/png;base64,",
        "https://me:secret@photos.example/a.jpg", "https://photos.example/a b.jpg",
        "https://photos.example/\x00", "https://photos.example:99999/", "https://[::1/a.jpg",
        f"https://photos.example/{'a' * 3000}", "",
    ],
)  # fmt: skip
async def test_what_is_no_public_https_address_is_refused(photos: Internet, url: str) -> None:
    error = await refusal(url)

    assert error.code == "bad_url" and error.status == 422
    assert "secret" not in str(error)
    assert photos.connected == []


async def test_a_server_that_fetches_nothing_names_the_setting(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "fetch_urls", False)

    error = await refusal()

    assert (error.status, error.code) == (403, "fetch_off")
    assert "PIXELMILL_FETCH_URLS" in str(error)
    assert photos.connected == []


# Origins that the settings list


async def test_a_listed_origin_may_be_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "fetch_urls", False)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await says(200, PICTURE)(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(settings(), "fetch_hosts", f"http://127.0.0.1:{port}")
    async with server:
        assert await fetched(f"http://127.0.0.1:{port}/a.jpg") == PICTURE
        assert (await refusal(f"http://127.0.0.1:{port + 1}/a.jpg")).code == "fetch_off"
        assert (await refusal("https://photos.example/a.jpg")).code == "fetch_off"


def test_a_listed_origin_is_https_on_its_port_unless_it_says_otherwise() -> None:
    assert rules(False, "a.example, http://b.example, c.example:8443").listed == {
        ("https", "a.example", 443),
        ("http", "b.example", 80),
        ("https", "c.example", 8443),
    }


# Bounds


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
async def test_an_answer_without_a_picture_is_named(photos: Internet, status: int) -> None:
    photos.page("/a.jpg", says(status, b"" if status in (204, 304) else b"no"))

    error = await refusal()

    assert error.code == "not_fetched" and str(status) in str(error)


async def test_a_file_that_declares_too_much_is_not_read(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.page("/a.jpg", says(200, b"", f"Content-Length: {26 * MIB}"))

    error = await refusal()

    assert error.status == 413 and f"{settings().max_upload_mib:g} MiB" in str(error)


async def test_a_file_that_is_larger_than_it_says_is_cut_off(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "max_upload_mib", 1)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    part = b"10000\r\n" + bytes(65_536) + b"\r\n"
    photos.page("/a.jpg", drips([head, *[part] * 1000], 0))

    assert (await refusal()).status == 413
    assert memory.memory_budget().shares.held("192.0.2.9") == 0


async def test_a_compressed_body_is_refused(photos: Internet) -> None:
    photos.page("/a.jpg", says(200, b"x", "Content-Encoding: gzip"))

    assert "compressed" in str(await refusal())


@pytest.mark.measures_time
@pytest.mark.parametrize("part", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
async def test_a_server_that_drips_is_given_up(
    photos: Internet, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr(settings(), "fetch_timeout_s", 0.5)
    photos.page("/a.jpg", drips([part, *[b"x"] * 50], 0.1))
    began = time.monotonic()

    assert (await refusal()).code in ("fetch_timeout", "not_fetched")
    assert time.monotonic() - began < 2


async def test_a_server_that_falls_silent_is_given_up(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download._TIMEOUTS, "read", 0.2)
    photos.page("/a.jpg", drips([b"HTTP/1.1 200 OK\r\n"], 5))

    assert (await refusal()).code == "fetch_timeout"


async def test_a_server_that_breaks_off_is_named(photos: Internet) -> None:
    photos.page("/a.jpg", says(200, b"abc", "Content-Length: 9"))

    assert "broke off" in str(await refusal())


async def test_endless_redirects_end(photos: Internet) -> None:
    photos.page("/a.jpg", says(302, b"", "Location: /a.jpg"))

    assert "more than 3 times" in str(await refusal())
    assert len(photos.connected) == 4


async def test_the_memory_of_a_picture_is_reserved_until_it_is_used(photos: Internet) -> None:
    shares = memory.memory_budget().shares
    async with fetch.fetched(SCOPE, URL):
        held = shares.held("192.0.2.9")

    assert held == len(PICTURE)
    assert shares.held("192.0.2.9") == 0


async def test_more_than_there_is_memory_for_is_not_fetched(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "bodies_mib", 0.01)

    with pytest.raises(Busy, match="too many uploads"):
        await fetched()


async def test_too_many_fetches_at_a_time_are_refused(
    photos: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "WAIT_S", 0.05)
    photos.page("/a.jpg", drips([b"HTTP/1.1 200 OK\r\n"], 1))
    fetches = [asyncio.create_task(fetched()) for _ in range(fetch.FETCHES)]
    await asyncio.sleep(0.2)

    with pytest.raises(Busy, match="too many files"):
        await fetched()
    for task in fetches:
        task.cancel()
    await asyncio.gather(*fetches, return_exceptions=True)


async def test_without_any_rule_nothing_may_be_asked() -> None:
    with pytest.raises(BadInput) as caught:
        await download.download(URL, Rules(public=False), download.Bounds(1, 1))

    assert caught.value.code == "fetch_off"


# Through the API


@pytest.fixture(scope="module")
def fetching(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address of a web process, origin of a server of pictures that it may ask)."""
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=REPOSITORY / "examples"))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{files.server_port}"
    web = Stack(tmp_path_factory.mktemp("fetching"))
    port = str(web.ports["web"])
    web.env = {**stack.env, "PIXELMILL_FETCH_HOSTS": origin, "PIXELMILL_PORT": port}
    with web:
        web.start_web()
        yield web.url, origin
    files.shutdown()
    files.server_close()


class Files(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *arguments: object) -> None:
        pass


def predict(web: str, model: str, url: str, content: bytes = b"") -> httpx.Response:
    asked = {"url": url, "wait": "60"}
    return httpx.post(f"{web}/api/v1/predict/{model}", params=asked, content=content, timeout=90)


def test_a_job_takes_its_picture_from_an_address(fetching: tuple[str, str]) -> None:
    web, origin = fetching

    answer = predict(web, "toy", f"{origin}/chelsea.jpg")

    assert answer.status_code == 200 and answer.json()["state"] == "done"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("README.md", 415, "unsupported_type"), ("nothing.jpg", 422, "not_fetched")],
)
def test_what_comes_from_an_address_is_checked(
    fetching: tuple[str, str], path: str, status: int, code: str
) -> None:
    web, origin = fetching

    answer = predict(web, "toy", f"{origin}/{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_picture_and_an_address_are_one_too_many(fetching: tuple[str, str]) -> None:
    web, origin = fetching

    answer = predict(web, "toy", f"{origin}/chelsea.jpg", b"x")

    assert answer.status_code == 422 and "not both" in answer.json()["error"]["message"]


def test_a_form_and_json_may_name_the_address(fetching: tuple[str, str]) -> None:
    web, origin = fetching
    address, fields = f"{web}/api/v1/predict/toy", {"url": f"{origin}/chelsea.jpg", "wait": 60}

    by_json = httpx.post(address, json={**fields, "gain": 2}, timeout=90)
    by_form = httpx.post(
        address, data={"url": fields["url"], "wait": "60"}, files={"image": ("", b"")}, timeout=90
    )
    both = httpx.post(address, json={**fields, "image": "QUJD"}, timeout=90)

    assert by_json.json()["params"] == {"gain": 2} and by_json.json()["state"] == "done"
    assert by_form.status_code == 200, by_form.text
    assert both.status_code == 422 and "not both" in both.json()["error"]["message"]


def test_an_installation_fetches_nothing_by_itself(stack: Stack) -> None:
    answer = predict(stack.url, "toy", "https://example.com/a.jpg")

    assert answer.status_code == 403
    assert "PIXELMILL_FETCH_URLS" in answer.json()["error"]["message"]
