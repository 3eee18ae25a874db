"""What a durable write has answered is on the disk: nothing takes it back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from stack import Stack

from deploy import accounts, quota_store
from storage import api_keys, quotas, sessions, users
from storage.errors import StorageDown
from storage.redis import durable
from storage.redis.calls import TEXT, AsyncRedis, SyncRedis, command
from storage.redis.durable import DiskBarrier, DurableRedis, do_durably

ROUNDS = 5


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A state Redis of this file alone: it is killed."""
    with Stack(Path(tmp_path_factory.mktemp("durable"))) as own:
        start(own)
        yield own


def start(own: Stack) -> None:
    own.start_redis("state", "--appendonly", "yes", "--appendfsync", "everysec")


def link(own: Stack) -> SyncRedis:
    return SyncRedis(own.state, "the state Redis")


def kill_and_start(own: Stack) -> None:
    own.kill("state")
    start(own)


def test_accounts_and_keys_survive_a_kill_right_after_the_answer(own: Stack) -> None:
    for number in range(ROUNDS):
        do_durably(link(own), users.add(f"ada-{number}", "correct horse"))
        do_durably(link(own), api_keys.add(f"key-{number}", f"ada-{number}"))
        kill_and_start(own)

    for number in range(ROUNDS):
        assert link(own).do(users.credentials(f"ada-{number}")).password
        assert link(own).do(api_keys.look_up(f"key-{number}")).user == f"ada-{number}"


def test_a_users_quotas_survive_a_kill_right_after_the_command(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_durably(link(own), users.add("quinn", "correct horse"))
    monkeypatch.setattr(quota_store, "state", lambda: link(own))
    monkeypatch.setattr(accounts, "state", lambda: link(own))

    quota_store.set_quota("quinn", "images_per_day", 7)
    quota_store.set_quota("quinn", "stored_bytes", 2)
    kill_and_start(own)
    quota_store.set_quota("quinn", "images_per_day", None)
    kill_and_start(own)

    assert link(own).do(quotas.own("quinn")) == {"stored_bytes": 2 * 2**20}


def test_a_key_that_was_revoked_stays_revoked_after_a_kill(own: Stack) -> None:
    key = do_durably(link(own), api_keys.add("key-of-grace", "grace"))
    assert key

    assert do_durably(link(own), api_keys.revoke("grace", key.id))
    kill_and_start(own)

    assert link(own).do(api_keys.look_up("key-of-grace")) is None


async def test_what_was_taken_back_does_not_return(own: Stack) -> None:
    durable = DurableRedis(own.env["PIXELMILL_STATE_URL"])
    state = AsyncRedis(own.env["PIXELMILL_STATE_URL"])
    await durable.do(users.set_password("grace", "before"))
    credentials = await state.do(users.credentials("grace"))
    origin = sessions.Origin("account", "accounts", "", "")
    life = sessions.Life(60, 600)
    assert await state.do(sessions.begin("grace", "token", credentials.epoch, origin, life))
    await state.close()

    await durable.do(users.set_disabled("grace", True))
    kill_and_start(own)

    assert link(own).do(users.account("grace")).is_disabled
    use = sessions.use("grace", sessions.id_of("token"), mode="accounts", life=life)
    assert link(own).do(use) is None


async def test_the_answer_comes_after_the_disk_has_it(own: Stack) -> None:
    """Redis counts what it has written and what is on the disk: when we are answered, the second
    number has reached what the first one was."""
    durable = DurableRedis(own.env["PIXELMILL_STATE_URL"])
    client = own.state

    await asyncio.gather(*(durable.do(users.add(f"u-{n}", "correct horse")) for n in range(4)))

    with client.client() as same:
        same.set("x", 1)
        assert same.execute_command("WAITAOF", 1, 0, 5000)[0] == 1


async def test_many_who_wait_for_the_disk_share_one_question(own: Stack) -> None:
    disk, client = DiskBarrier(own.env["PIXELMILL_STATE_URL"]), own.state
    client.mset({f"key-{n}": n for n in range(20)})
    client.config_resetstat()

    await asyncio.gather(*(disk.passed_by(f"key-{n}") for n in range(20)))
    await disk.close()

    assert client.info("commandstats")["cmdstat_waitaof"]["calls"] == 1


async def test_a_disk_that_does_not_take_it_is_an_error_and_not_a_promise(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LIMIT_S", 0.2)
    disk, client = DiskBarrier(own.env["PIXELMILL_STATE_URL"]), own.state
    client.config_set("appendfsync", "no")
    try:
        client.set("key", 1)
        with pytest.raises(StorageDown, match="did not write to its disk"):
            await disk.passed_by("key")
    finally:
        client.config_set("appendfsync", "everysec")
    await disk.close()


async def test_what_redis_has_lost_when_it_started_again_is_not_promised(own: Stack) -> None:
    disk = DiskBarrier(own.env["PIXELMILL_STATE_URL"])

    with pytest.raises(StorageDown, match="has lost what was just written"):
        await disk.passed_by("key-that-is-gone")

    await disk.close()


def test_a_redis_that_keeps_nothing_is_named(own: Stack, servers: Stack) -> None:
    cache = SyncRedis(redis.Redis(port=servers.ports["cache"], db=9), "the cache Redis")

    with pytest.raises(StorageDown, match="power cut.*appendonly yes"):
        do_durably(cache, command(bool, "SET", "durable", 1, kinds=TEXT))


async def test_a_redis_that_is_gone_is_down(own: Stack) -> None:
    with pytest.raises(StorageDown):
        await DurableRedis("redis://127.0.0.1:1/0").do(users.end_sessions("ada"))
