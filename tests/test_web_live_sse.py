"""Server-sent events of real web processes, two of them; runs are taken through by hand."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import runs
from runs import Job
from stack import API_KEY, Stack

from storage import api_keys
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from web.live.sse import EventStream

PATIENCE_S = 20.0
STRANGER = "key-of-a-stranger"


@pytest.fixture(scope="module")
def webs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """Servers and two web processes: a stack, and the address of the second."""
    with Stack(tmp_path_factory.mktemp("events")) as stack:
        stack.start_servers()
        SyncRedis(stack.state).do(api_keys.add(STRANGER, "eve"))
        stack.start_web()
        yield stack, stack.start_another_web()


@pytest.fixture
def stack(webs: tuple[Stack, str]) -> Stack:
    return webs[0]


@pytest.fixture
def other_url(webs: tuple[Stack, str]) -> str:
    return webs[1]


@pytest.fixture
def link(stack: Stack) -> Iterator[SyncRedis]:
    with stack.state as client:
        yield SyncRedis(client)


@pytest.fixture
def job(link: SyncRedis) -> Job:
    """A job of the tests' user that is queued."""
    return runs.claim(link, "tester")


class Events:
    """What a stream says, event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.lines = answer.iter_lines()

    def next(self) -> dict[str, str]:
        """The next event or comment."""
        event: dict[str, str] = {}
        for line in self.lines:
            if not line and event:
                return event
            name, _, value = line.partition(": ")
            if line:
                event[name or "comment"] = value
        return {"end": ""}

    def data(self, job_id: str = "", state: str = "") -> tuple[str, dict[str, Any]]:
        """Id and job of the next event, of this job and in this state."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            event = self.next()
            assert "end" not in event, "the stream ended"
            body = json.loads(event.get("data", "{}"))
            is_it = body.get("id", "").startswith(job_id)
            if body and is_it and body.get("state", "").startswith(state):
                return event.get("id", ""), body
        raise AssertionError(f"no event of {job_id} in {state}")

    def until(self, wanted: set[tuple[str, str]]) -> None:
        """Read on until all these (job, state) have been told, in whatever order."""
        left = set(wanted)
        while left:
            _, body = self.data()
            left.discard((body["id"], body.get("state", "")))


@contextmanager
def events(
    url: str, path: str = "/events", *, key: str = API_KEY, after: str = "", **query: str
) -> Iterator[Events]:
    headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": after} if after else {})
    with (
        httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S) as client,
        client.stream("GET", f"/api/v1{path}", params=query) as answer,
    ):
        yield Events(answer)


def listeners(stack: Stack) -> int:
    """Open streams' TCP connections, seen from the web process."""
    import psutil

    web = psutil.Process(stack.processes["web"].pid)
    port = stack.ports["web"]
    there = [
        connection
        for connection in web.net_connections("tcp")
        if connection.laddr and connection.laddr.port == port
    ]
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in there)


def test_a_stream_begins_with_what_is_under_way(stack: Stack, job: Job) -> None:
    job.begin_stage("preprocess")

    with events(stack.url) as stream:
        _, body = stream.data(job.id)

    assert (body["state"], body["model"]) == ("preprocessing", "toy")
    assert stream.answer.headers["x-accel-buffering"] == "no"
    assert stream.answer.headers["content-type"].startswith("text/event-stream")


def test_one_stream_tells_of_all_jobs_even_of_new_ones(
    stack: Stack, job: Job, link: SyncRedis
) -> None:
    with events(stack.url) as stream:
        stream.data(job.id, "queued")
        late = runs.claim(link, "tester")
        stream.data(late.id, "queued")
        job.finish()
        late.begin_stage("preprocess")

        stream.until({(job.id, "done"), (late.id, "preprocessing")})


def test_a_named_job_that_has_ended_is_told(stack: Stack, job: Job) -> None:
    job.finish()

    with events(stack.url, jobs=job.id) as stream:
        assert stream.data(job.id)[1]["state"] == "done"


def test_another_process_goes_on_where_a_stream_broke(
    stack: Stack, other_url: str, link: SyncRedis
) -> None:
    first, second = runs.claim(link, "eve"), runs.claim(link, "eve")
    with events(stack.url, key=STRANGER) as stream:
        stream.data(first.id, "queued")
        second.begin_stage("preprocess")
        last, _ = stream.data(second.id, "preprocessing")
    first.finish()  # while nobody listens
    second.finish()

    with events(other_url, key=STRANGER, after=last) as stream:
        ids = {stream.data(state="done")[1]["id"] for _ in range(2)}

    assert ids == {first.id, second.id}


def test_one_jobs_stream_resumes_on_another_process(stack: Stack, other_url: str, job: Job) -> None:
    path = f"/jobs/{job.id}/events"
    with events(stack.url, path) as stream:
        stream.data(state="queued")
        job.begin_stage("preprocess")
        last, _ = stream.data(state="preprocessing")
    job.end_stage("preprocess")
    job.finish()

    with events(other_url, path, after=last) as stream:
        version, body = stream.data()
        assert "end" in stream.next(), "it ends with the job"

    assert body["state"] == "done" and int(version) > int(last)


def test_the_stream_of_a_job_that_is_deleted_ends_by_saying_so(stack: Stack, job: Job) -> None:
    with events(stack.url, f"/jobs/{job.id}/events") as stream:
        stream.data(state="queued")
        httpx.delete(
            f"{stack.url}/api/v1/jobs/{job.id}", headers={"Authorization": f"Bearer {API_KEY}"}
        ).raise_for_status()
        told = list(iter(stream.next, {"end": ""}))

    assert (told[-1]["event"], json.loads(told[-1]["data"])) == ("gone", {"id": job.id})


def test_a_killed_pub_sub_connection_loses_nothing(stack: Stack, job: Job, link: SyncRedis) -> None:
    with events(stack.url) as stream:
        stream.data(job.id, "queued")
        stack.state.client_kill_filter(_type="pubsub")
        job.finish()
        late = runs.claim(link, "tester")

        stream.until({(job.id, "done"), (late.id, "queued")})


def test_jobs_of_others_are_in_no_stream(stack: Stack, job: Job, link: SyncRedis) -> None:
    theirs = runs.claim(link, "eve")
    with events(stack.url, key=STRANGER, jobs=job.id) as stream:
        received = [stream.next() for _ in range(3)]
        job.finish()
        theirs.finish()
        end = stream.data(state="done")[1]

    bodies = [json.loads(event["data"]) for event in received if "data" in event]
    assert {"id": job.id} in bodies, "gone, like what never was"
    assert all(body["id"] == theirs.id for body in [*bodies, end] if "state" in body)


def test_the_stream_of_anothers_job_is_not_found(stack: Stack, job: Job) -> None:
    with events(stack.url, f"/jobs/{job.id}/events", key=STRANGER) as stream:
        assert stream.answer.status_code == 404


@pytest.mark.measures_time
def test_a_stream_that_says_nothing_pings(stack: Stack, other_url: str) -> None:
    with events(other_url, key=STRANGER) as stream:
        began = time.monotonic()
        while "comment" not in stream.next():
            pass

    assert time.monotonic() - began <= 15.5


def test_whoever_hangs_up_leaves_no_connection_behind(stack: Stack, link: SyncRedis) -> None:
    job = runs.claim(link, "tester")
    before = listeners(stack)
    open_streams = threading.Barrier(9)

    def follow() -> None:
        with events(stack.url) as stream:
            stream.data(job.id)
            open_streams.wait(PATIENCE_S)
            open_streams.wait(PATIENCE_S)

    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
    open_streams.wait(PATIENCE_S)
    assert listeners(stack) - before == 8
    open_streams.wait(PATIENCE_S)
    for thread in threads:
        thread.join()

    end = time.monotonic() + PATIENCE_S
    while listeners(stack) > before and time.monotonic() < end:
        time.sleep(0.05)
    assert listeners(stack) <= before


def test_a_stream_that_cannot_begin_is_an_answer_with_a_reason(stack: Stack) -> None:
    with events(stack.url, jobs=",".join("a" * 101)) as stream:
        assert stream.answer.status_code == 422
        stream.answer.read()
        assert "101" in stream.answer.json()["error"]["message"]


@pytest.mark.parametrize("after", ["nonsense", "inf", "-1", "nan", "1e400"])
def test_an_id_that_is_none_of_ours_begins_anew(stack: Stack, job: Job, after: str) -> None:
    for path in ("/events", f"/jobs/{job.id}/events"):
        with events(stack.url, path, after=after) as stream:
            assert stream.data(job.id)[1]["state"] == "queued"


async def test_a_stream_whose_source_breaks_ends_at_once_for_its_client() -> None:
    sent: list[MutableMapping[str, Any]] = []
    has_ended = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        raise StorageDown("gone")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            has_ended.set()

    async def receive() -> MutableMapping[
        str, Any
    ]:  # as servers do: an answer sent is a client gone
        await has_ended.wait()
        return {"type": "http.disconnect"}

    with pytest.raises(StorageDown):
        await asyncio.wait_for(EventStream(b"", broken())({}, receive, send), PATIENCE_S)

    assert [message.get("body") for message in sent[-2:]] == [b"data: 1\n\n", b""]
