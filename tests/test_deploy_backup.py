"""Accounts, API keys, quotas and links survive the loss of the state Redis in a file."""

import time
from pathlib import Path

import pytest
import redis

from deploy import backup
from storage import api_keys, keys, passwords, quotas, sessions, shares, users
from storage.redis.calls import SyncRedis
from storage.shares import Share
from tasks.errors import BadInput

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
