"""Accounts and API keys survive the loss of the state Redis in a file."""

from pathlib import Path

import pytest
import redis
from stack import Stack

from deploy import backup
from storage import api_keys, keys, passwords, users
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput
from tasks.settings import settings


def test_accounts_and_keys_come_back_from_a_backup(
    servers: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://127.0.0.1:{servers.ports['state']}/11"
    monkeypatch.setenv("PIXELMILL_STATE_URL", url)
    settings.cache_clear()
    file = tmp_path / "accounts.json"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        link = SyncRedis(client)
        link.do(users.set_password("ada", "correct horse"))
        link.do(api_keys.add("key-of-ada", "ada", scopes=["read"]))
        client.set(keys.job("1"), "no account")
        written = backup.backup(file)
        client.flushdb()
        read = backup.restore(file)
        stored, key = (
            link.do(users.credentials("ada")).password,
            link.do(api_keys.look_up("key-of-ada")),
        )
        listed = link.do(api_keys.of_user("ada"))
        jobs = client.exists(keys.job("1"))
        client.flushdb()
    settings.cache_clear()

    assert (written, read, jobs) == (3, 3, 0)
    assert passwords.is_password(stored, "correct horse")
    assert key and (key.user, key.scopes) == ("ada", {"read"})
    assert [item.id for item in listed] == [key.id]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "correct horse" not in file.read_text() and "key-of-ada" not in file.read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixelmill_backup": 1, "records": {"a": 1}}'])
def test_a_file_that_is_not_a_backup_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(text)

    with pytest.raises(BadInput, match="is not a backup"):
        backup.restore(file)
