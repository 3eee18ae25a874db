"""Accounts and API keys survive the loss of the state Redis in a file."""

from pathlib import Path

import pytest
import redis
from stack import Stack

from deploy import backup
from storage import users
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
        for call in (
            users.set_password("ada", "correct horse"),
            users.add_key("key-of-ada", "ada"),
        ):
            client.execute_command(*call.words)
        client.set("px2:job:1", "no account")
        written = backup.backup(file)
        client.flushdb()
        read = backup.restore(file)
        stored, owner = (
            client.execute_command(*call.words).decode()
            for call in (users.password_hash("ada"), users.user_of_key("key-of-ada"))
        )
        jobs = client.exists("px2:job:1")
        client.flushdb()
    settings.cache_clear()

    assert (written, read, jobs) == (2, 2, 0)
    assert users.is_password(stored, "correct horse") and owner == "ada"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "correct horse" not in file.read_text() and "key-of-ada" not in file.read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixelmill_backup": 1, "records": {"a": 1}}'])
def test_a_file_that_is_not_a_backup_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(text)

    with pytest.raises(BadInput, match="is not a backup"):
        backup.restore(file)
