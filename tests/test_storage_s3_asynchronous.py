"""S3 is waited for while it shows signs of life: killed, hanging, slow and well again."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path

import pytest
from stack import Stack

from storage.errors import StorageDown
from storage.s3.asynchronous import ANSWER_S, SILENCE_S, AsyncObjects, Watch
from storage.s3.folder import FolderObjects
from storage.s3.objects import Objects, S3Objects

pytest_plugins = ["inprocess"]

LIMIT_S = 2.0
"""What is promised of every door."""


@pytest.fixture
async def remote(s3: S3Objects) -> AsyncIterator[AsyncObjects]:
    made = AsyncObjects(s3, s3.url)
    yield made
    await made.close()


def put(objects: Objects) -> str:
    return objects.put("in/ada/watched", b"bytes", "image/png")


async def fails_in_s(remote: AsyncObjects) -> float:
    began = time.monotonic()
    with pytest.raises(StorageDown, match="S3 did not answer"):
        await remote.do(put)
    return time.monotonic() - began


async def test_what_is_answered_is_handed_on(remote: AsyncObjects) -> None:
    etag = await remote.do(put)

    assert (await remote.do(lambda s3: s3.stat("in/ada/watched"))).etag == etag


async def test_what_the_store_raises_is_handed_on(remote: AsyncObjects) -> None:
    with pytest.raises(FileNotFoundError):
        await remote.do(lambda s3: s3.get("in/ada/missing"))


@pytest.mark.measures_time
async def test_a_server_that_hangs_is_given_up_in_time(
    servers: Stack, remote: AsyncObjects
) -> None:
    await remote.do(put)  # over a connection that is open already

    with servers.hanging("s3"):
        assert await fails_in_s(remote) < LIMIT_S


@pytest.mark.measures_time
async def test_a_crowd_learns_of_it_in_time(servers: Stack, remote: AsyncObjects) -> None:
    """More than there are threads: nobody waits in line for a thread that waits for S3."""
    with servers.hanging("s3"):
        took_s = await asyncio.gather(*(fails_in_s(remote) for _ in range(100)))

    assert max(took_s) < LIMIT_S + 1, "a hundred clients on a busy machine"


async def test_what_is_known_to_hang_is_asked_before_anything_is_sent(
    servers: Stack, remote: AsyncObjects
) -> None:
    asked: list[Objects] = []
    with servers.hanging("s3"):
        await fails_in_s(remote)

        with pytest.raises(StorageDown):
            await remote.do(asked.append)

    assert asked == []


async def test_it_is_used_again_once_it_answers(servers: Stack, remote: AsyncObjects) -> None:
    with servers.hanging("s3"):
        await fails_in_s(remote)

    assert await remote.do(put)


@pytest.mark.measures_time
async def test_a_server_that_is_gone_is_said_at_once() -> None:
    gone = S3Objects("http://127.0.0.1:1", key="k", secret="s", bucket="b", region="r", timeout_s=5)
    remote = AsyncObjects(gone, gone.url)

    assert await fails_in_s(remote) < LIMIT_S

    await remote.close()


async def test_long_work_of_a_living_server_is_waited_for(remote: AsyncObjects) -> None:
    def slow(objects: Objects) -> str:
        threading.Event().wait(SILENCE_S * 2.5)
        return "done"

    assert await remote.do(slow) == "done"


async def test_a_client_that_takes_its_time_is_not_the_servers_silence() -> None:
    async def nobody() -> None:
        raise AssertionError("nobody had to be asked")

    async def client_is_slow() -> str:
        await asyncio.sleep(SILENCE_S * 2)
        return "sent"

    assert await Watch(nobody).over(client_is_slow, lambda: inf) == "sent"


@pytest.mark.measures_time
async def test_the_wait_begins_when_the_server_is_waited_for() -> None:
    began = time.monotonic()

    async def silence() -> None:
        await asyncio.sleep(60)

    with pytest.raises(StorageDown):
        await Watch(silence).over(silence, lambda: began + 0.5)

    took_s = time.monotonic() - began
    assert 0.5 + SILENCE_S + ANSWER_S <= took_s < 0.5 + LIMIT_S


async def test_a_folder_is_asked_nothing(tmp_path: Path) -> None:
    remote = AsyncObjects(FolderObjects(tmp_path))

    await remote.do(put)

    assert (tmp_path / "in" / "ada" / "watched").read_bytes() == b"bytes"
    await remote.close()
