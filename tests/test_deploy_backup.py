"""Accounts, API keys, quotas and links survive the loss of the state Redis in a file."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from stack import Stack

from deploy import backup
from storage import api_keys, keys, passwords, quotas, sessions, shares, users
from storage.redis.calls import SyncRedis
from storage.shares import Share
from tasks.errors import BadInput
from tasks.settings import settings

pytest_plugins = ["inprocess"]

COUNTS = {"accounts": 1, "API keys": 1, "quotas": 1, "links": 1, "lists": 2}


def share(link: SyncRedis, client: "redis.Redis", share_id: str, expires_ms: int) -> None:
    """A link to a picture of a job of ada."""
    client.hset(keys.job("1"), mapping={"user": "ada", "request_key": "k"})
    made = Share(share_id, "ada", "1", "preview", "out/ada/k/p.webp", "image/webp", expires_ms)
    assert link.do(shares.add(made)) == "ok"


def fill(link: SyncRedis, client: "redis.Redis") -> None:
    """One of everything that a backup has, and what it has not."""
    link.do(users.set_password("ada", "correct horse"))
    link.do(api_keys.add("key-of-ada", "ada", scopes=["read"]))
    link.do(quotas.set_own("ada", "images_per_day", 7))
    share(link, client, "a" * 32, int(time.time() * 1000) + 3_600_000)
    token, epoch = sessions.new_token(), link.do(users.credentials("ada")).epoch
    life, origin = sessions.Life(60, 60), sessions.Origin("account", "accounts", "", "")
    assert link.do(sessions.begin("ada", token, epoch, origin, life))


def test_all_that_no_user_could_make_again_comes_back_from_a_backup(
    in_process: None, link: SyncRedis, state: "redis.Redis", tmp_path: Path
) -> None:
    file = tmp_path / "accounts.json"
    fill(link, state)

    written = backup.backup(file)
    state.flushdb()
    read = backup.restore(file)

    stored = link.do(users.credentials("ada")).password
    key = link.do(api_keys.look_up("key-of-ada"))
    listed = link.do(api_keys.of_user("ada"))
    [shared] = link.do(shares.of_user("ada"))
    assert written == read == COUNTS
    assert link.do(quotas.own("ada")) == {"images_per_day": 7}
    assert shared.key == "out/ada/k/p.webp" and 3500 < state.ttl(keys.share(shared.id)) <= 3600
    assert not state.exists(keys.job("1")) and link.do(sessions.of_user("ada")) == []
    assert passwords.is_password(stored, "correct horse")
    assert key and (key.user, key.scopes) == ("ada", {"read"})
    assert [item.id for item in listed] == [key.id]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "correct horse" not in file.read_text() and "key-of-ada" not in file.read_text()


def test_a_link_that_has_expired_since_does_not_come_back(
    in_process: None, link: SyncRedis, state: "redis.Redis", tmp_path: Path
) -> None:
    share(link, state, "a" * 32, int(time.time() * 1000) + 300)
    backup.backup(tmp_path / "accounts.json")
    time.sleep(0.4)

    restored = backup.restore(tmp_path / "accounts.json")

    assert restored["links"] == 0 and link.do(shares.of_user("ada")) == []


def test_a_backup_that_was_changed_is_refused_whole(
    in_process: None, link: SyncRedis, state: "redis.Redis", tmp_path: Path
) -> None:
    file = tmp_path / "accounts.json"
    fill(link, state)
    backup.backup(file)
    file.write_text(file.read_text().replace('"images_per_day": "7"', '"images_per_day": "9"'))
    state.flushdb()

    with pytest.raises(BadInput, match="is damaged"):
        backup.restore(file)

    assert not list(state.scan_iter())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixelmill_backup": 2, "records": {"a": 1}}'])
def test_a_file_that_is_not_a_backup_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(text)

    with pytest.raises(BadInput, match="is not a backup"):
        backup.restore(file)


@pytest.fixture
def older(tmp_path: Path) -> Iterator["redis.Redis"]:
    """Redis 7.0, which is Debian's: three years and a fork older than the Valkey of these tests."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the program redis-server is not installed")
    with Stack(tmp_path / "older") as own:
        own.folder.mkdir()
        port = str(own.ports["state"])
        own.start("state", [program, "--port", port, "--bind", "127.0.0.1", "--save", ""])
        own.wait_for("state", own.state.ping, 10)
        yield own.state


def records(file: Path) -> dict[str, object]:
    """Those of a backup, but for what each restore makes anew so that no session comes back."""
    read: dict[str, dict[str, dict[str, object]]] = json.loads(file.read_text())["records"]
    for record in read.values():
        record["value"].pop("epoch", None)
    return dict(read)


def test_a_backup_moves_between_servers_of_different_versions(
    in_process: None,
    link: SyncRedis,
    state: "redis.Redis",
    older: "redis.Redis",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there, back = (tmp_path / f"{name}.json" for name in ("here", "there", "back"))
    fill(link, state)
    own_url = settings().state_url
    older_url = f"redis://127.0.0.1:{older.connection_pool.connection_kwargs['port']}/0"

    def at(url: str) -> None:
        monkeypatch.setenv("PIXELMILL_STATE_URL", url)
        settings.cache_clear()

    counts = [backup.backup(here)]
    at(older_url)
    counts += [backup.restore(here), backup.backup(there)]
    state.flushdb()
    at(own_url)
    counts += [backup.restore(there), backup.backup(back)]

    assert older.info()["redis_version"] != state.info().get("valkey_version")
    assert counts == [COUNTS] * 5
    assert records(here) == records(there) == records(back)
    assert passwords.is_password(link.do(users.credentials("ada")).password, "correct horse")
