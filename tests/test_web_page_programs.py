"""`gradio_client` at the page's address: what it can call, what it gets, and whose it is."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, AuthenticationError
from PIL import Image
from stack import REPOSITORY, Stack

from storage import keys, users
from storage.redis import calls

PHOTO = REPOSITORY / "examples" / "chelsea.jpg"
JOIN = "/ui/gradio_api/queue/join"


@pytest.fixture
def connect(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients of the page's address."""
    made = []

    def connect(src: str = f"{stack.url}/ui/", **options: Any) -> Client:
        client = Client(
            src, verbose=False, analytics_enabled=False, download_files=tmp_path, **options
        )
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A program that nobody knows."""
    return connect()


def test_a_program_cuts_a_photo_out(client: Client) -> None:
    picture, job = client.predict(handle_file(PHOTO), "matting", api_name="/run")

    assert job["state"] == "done" and job["model"] == "matting"
    with Image.open(picture) as cutout, Image.open(PHOTO) as photo:
        assert cutout.mode == "RGBA" and cutout.size == photo.size
    assert Path(picture).name.startswith("chelsea-cutout.")


def test_parameters_and_pictures_are_chosen(client: Client) -> None:
    picture, job = client.predict(
        image=handle_file(PHOTO), model="toy", params={"gain": 1.25}, output="preview",
        api_name="/run",
    )  # fmt: skip

    assert job["params"]["gain"] == 1.25 and set(job["result"]["objects"]) >= {"preview"}
    assert Path(picture).name == "chelsea-preview.png"


def test_parameters_may_be_a_text(client: Client) -> None:
    _, job = client.predict(handle_file(PHOTO), "toy", '{"gain": 1.5}', api_name="/run")

    assert job["params"]["gain"] == 1.5


def test_the_same_call_again_is_answered_from_the_cache(client: Client) -> None:
    call = (handle_file(PHOTO), "toy", {"gain": 1.75})
    client.predict(*call, api_name="/run")

    _, job = client.predict(*call, api_name="/run")

    assert job["cached"]


def test_one_endpoint_is_described_and_no_other(client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)

    assert list(described["named_endpoints"]) == ["/run"]
    assert not described["unnamed_endpoints"]
    endpoint = described["named_endpoints"]["/run"]
    assert [one["parameter_name"] for one in endpoint["parameters"]] == [
        "image", "model", "params", "output",
    ]  # fmt: skip
    assert [one["parameter_has_default"] for one in endpoint["parameters"]] == [
        False, True, True, True,
    ]  # fmt: skip
    assert "Returns the picture" in endpoint["description"]
    assert client.predict(handle_file(PHOTO), "toy")[1]["state"] == "done", "it is the only one"


def test_the_address_without_a_path_does_as_well(
    stack: Stack, connect: Callable[..., Client]
) -> None:
    _, job = connect(stack.url).predict(handle_file(PHOTO), "toy", api_name="/run")

    assert job["state"] == "done"


@pytest.mark.parametrize(
    ("image", "model", "params", "sentence"),
    [
        (PHOTO, "nothing", {}, "no model 'nothing'"),
        (PHOTO, "toy", {"gian": 1}, "unknown parameter 'gian'; this model's parameters: "),
        (PHOTO, "toy", "gain=1", "the parameters are not an object"),
        (__file__, "toy", {}, "is not accepted"),
        ("https://example.com/a.jpg", "toy", {}, "PIXELMILL_FETCH_URLS"),
    ],
)
def test_a_refusal_says_why(
    client: Client, image: Any, model: str, params: Any, sentence: str
) -> None:
    with pytest.raises(AppError, match=sentence.replace("(", r"\(")):
        client.predict(handle_file(image), model, params, api_name="/run")


def test_a_call_without_a_photo_says_so(stack: Stack, client: Client) -> None:
    with pytest.raises(AppError, match="there is no photo"):
        client.predict(None, "toy", api_name="/run")


def test_many_calls_of_one_client_run_side_by_side(client: Client) -> None:
    jobs = [
        client.submit(handle_file(PHOTO), "toy", {"gain": 1 + number / 100}, api_name="/run")
        for number in range(8)
    ]

    gains = [job.result(60)[1]["params"]["gain"] for job in jobs]

    assert gains == [1 + number / 100 for number in range(8)]


def test_progress_is_told(client: Client) -> None:
    job = client.submit(
        handle_file(PHOTO), "slow", {"device_s": 2, "salt": time.time_ns()}, api_name="/run"
    )
    seen = set()
    while not job.done():
        status = job.status()
        seen |= {unit.desc for unit in status.progress_data or []}
        time.sleep(0.02)

    assert job.result()[1]["state"] == "done"
    assert "inference" in seen


def test_a_cancelled_call_is_cancelled_on_the_server(stack: Stack, client: Client) -> None:
    job = client.submit(
        handle_file(PHOTO), "slow", {"device_s": 5, "salt": time.time_ns()}, api_name="/run"
    )
    while not job.status().progress_data:
        time.sleep(0.02)
    [events] = stack.state.keys(keys.session_events("*", client.session_hash))
    [event] = stack.state.hvals(events)

    job.cancel()

    with pytest.raises(CancelledError):
        job.result(5)
    url = f"{stack.url}/api/v1/jobs/{json.loads(event)['job_id']}"
    assert httpx.get(url, cookies=client.cookies).json()["state"] in ("cancelling", "cancelled")


def test_the_jobs_of_a_program_are_its_own(
    stack: Stack, client: Client, connect: Callable[..., Client]
) -> None:
    picture = client.submit(handle_file(PHOTO), "toy", api_name="/run")
    job = picture.result(60)[1]
    path = f"/ui/gradio_api/file={job['id']}/preview/a-preview.webp"

    mine = httpx.get(f"{stack.url}{path}", cookies=client.cookies)
    others = httpx.get(f"{stack.url}{path}", cookies=connect().cookies)
    nobodys = httpx.get(f"{stack.url}{path}")

    assert mine.status_code == 302 and "X-Amz-Signature" in mine.headers["location"]
    assert others.status_code == nobodys.status_code == 404


def test_an_upload_of_another_is_not_there(
    stack: Stack, client: Client, connect: Callable[..., Client]
) -> None:
    with PHOTO.open("rb") as file:
        [path] = httpx.post(
            f"{stack.url}/ui/gradio_api/upload", files={"files": file}, cookies=client.cookies
        ).json()
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    other = connect()

    with httpx.Client(base_url=stack.url, cookies=other.cookies) as wire:
        join = {"data": [image, "toy"], "fn_index": 0, "session_hash": "abc"}
        wire.post(JOIN, json=join).raise_for_status()
        told = wire.get("/ui/gradio_api/queue/data", params={"session_hash": "abc"}).text

    assert "no upload" in told


def test_a_key_makes_a_program_that_user(stack: Stack, connect: Callable[..., Client]) -> None:
    key = {"Authorization": f"Bearer {stack.api_key}"}
    for client in (connect(headers=key), connect(token=stack.api_key)):
        _, job = client.predict(handle_file(PHOTO), "toy", api_name="/run")

        url = f"{stack.url}/api/v1/jobs/{job['id']}"
        assert httpx.get(url, headers=key).status_code == 200
        assert httpx.get(url).status_code == 404


def test_the_token_of_somebody_elses_hub_is_passed_over(connect: Callable[..., Client]) -> None:
    """Gradio's client sends the token that its user has saved, to whatever server it is."""
    _, job = connect(token="hf_abc").predict(handle_file(PHOTO), "toy", api_name="/run")

    assert job["state"] == "done"


def test_a_session_that_waits_for_nothing_is_closed_at_once(stack: Stack) -> None:
    stream = httpx.get(f"{stack.url}/ui/gradio_api/queue/data?session_hash=nothing")

    assert stream.text == 'data: {"msg":"close_stream"}\n\n'


def test_a_form_that_cannot_be_read_is_refused(stack: Stack) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}

    answer = httpx.post(f"{stack.url}/ui/gradio_api/upload", content=b"--y\r\n", headers=form)

    assert answer.status_code == 422


def test_the_page_carries_nothing_of_it(stack: Stack) -> None:
    assert '"run"' in httpx.get(f"{stack.url}/ui/config").text
    assert '"run"' not in httpx.get(f"{stack.url}/ui/").text


@pytest.mark.parametrize(
    "body",
    [
        {}, {"data": [], "fn_index": 1, "session_hash": "a"},
        {"data": [], "fn_index": 0, "session_hash": "a b"}, {"data": 3, "fn_index": 0}, [],
        {"data": [], "fn_index": 0},
    ],
)  # fmt: skip
def test_a_body_that_no_client_sends_is_refused(stack: Stack, body: Any) -> None:
    assert httpx.post(f"{stack.url}{JOIN}", json=body).status_code == 422


def test_nothing_of_it_is_kept_on_the_disk(client: Client) -> None:
    folder = Path("/tmp/gradio")
    before = set(folder.rglob("*")) if folder.exists() else set()

    client.predict(handle_file(PHOTO), "toy", {"gain": 1.9}, api_name="/run")

    assert (set(folder.rglob("*")) if folder.exists() else set()) == before


# Where open mode is off


@pytest.fixture(scope="module")
def closed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process of the same installation that asks who is there; its address."""
    calls.SyncRedis(stack.state).do(users.set_password("admin", "right"))
    web = Stack(tmp_path_factory.mktemp("closed"))
    web.env = {**stack.env, "PIXELMILL_AUTH": "accounts", "PIXELMILL_PORT": str(web.ports["web"])}
    with web:
        web.start_web()
        yield web.url


def test_a_stranger_is_turned_away(closed: str, connect: Callable[..., Client]) -> None:
    with pytest.raises(AuthenticationError, match="credentials were not provided"):
        connect(f"{closed}/ui/")
    with pytest.raises(AuthenticationError, match="Invalid credentials"):
        connect(f"{closed}/ui/", auth=("admin", "wrong"))


def test_a_name_and_a_password_open_it(closed: str, connect: Callable[..., Client]) -> None:
    client = connect(f"{closed}/ui/", auth=("admin", "right"))

    assert client.predict(handle_file(PHOTO), "toy", api_name="/run")[1]["state"] == "done"


def test_a_key_opens_it(stack: Stack, closed: str, connect: Callable[..., Client]) -> None:
    client = connect(f"{closed}/ui/", headers={"Authorization": f"Bearer {stack.api_key}"})

    assert client.predict(handle_file(PHOTO), "toy", api_name="/run")[1]["state"] == "done"


def test_any_process_tells_of_the_jobs_of_all(stack: Stack, closed: str) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=60) as wire:
        with PHOTO.open("rb") as file:
            [path] = wire.post(f"{stack.url}/ui/gradio_api/upload", files={"files": file}).json()
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = {"data": [image, "toy"], "fn_index": 0, "session_hash": "def"}
        event = wire.post(f"{closed}{JOIN}", json=call).json()["event_id"]
        told = wire.get(f"{stack.url}/ui/gradio_api/queue/data", params={"session_hash": "def"})

    messages = [json.loads(line[6:]) for line in told.text.splitlines() if line]
    assert messages[-2]["event_id"] == event and messages[-2]["success"]
    assert messages[-1] == {"msg": "close_stream"}
