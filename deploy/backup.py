"""`pixelmill backup` and `restore`: accounts, API keys and quotas of users in one file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from deploy.private_file import write_private
from storage import keys, quota_keys, users
from storage.errors import StorageDown, refusal
from tasks.errors import BadInput
from tasks.settings import settings

VERSION = 1
PATTERNS = tuple(
    prefix + "*"
    for prefix in (
        keys.USER_PREFIX,
        keys.API_KEY_PREFIX,
        keys.USER_KEYS_PREFIX,
        quota_keys.QUOTA_PREFIX,
    )
)

Record = dict[str, str] | str
"""The value of a Redis key: a hash or a string."""


def backup(file: Path) -> int:
    """Write all accounts and keys, readable by this user alone; returns the number of records.

    Passwords and keys are in the file as hashes. That is enough to guess weak ones: keep it safe.
    """
    with _client() as client, _storage_errors():
        names = sorted({name for pattern in PATTERNS for name in client.scan_iter(pattern)})
        values = {name: _read(client, name) for name in names}
    records = {name: value for name, value in values.items() if value}  # not deleted meanwhile
    made = datetime.now(UTC).isoformat()
    content = {"pixelmill_backup": VERSION, "made": made, "records": records}
    write_private(file, json.dumps(content, indent=1))
    return len(records)


def restore(file: Path) -> int:
    """Write the records of a backup over the present ones; others stay. Returns their number."""
    records = _records(file)
    with _client() as client, _storage_errors():
        for name, value in records.items():
            pipe = client.pipeline(transaction=True)  # at no time an account has no password
            if isinstance(value, dict):
                pipe.delete(name).hset(name, mapping=value)
            else:
                pipe.set(name, value)
            if name.startswith(keys.USER_PREFIX):
                # Sessions that were ended since the backup do not come back.
                pipe.hset(name, "epoch", users.new_epoch())
            pipe.execute()
    return len(records)


def _records(file: Path) -> dict[str, Record]:
    try:
        content = json.loads(file.read_text())
        is_ours = content["pixelmill_backup"] == VERSION
        records: dict[str, Record] = content["records"]
        prefixes = tuple(pattern.rstrip("*") for pattern in PATTERNS)
        is_ours = is_ours and all(name.startswith(prefixes) for name in records)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is not a backup of Pixelmill") from error
    if not is_ours:
        raise BadInput(f"{file} is not a backup of this version of Pixelmill")
    return records


def _read(client: "redis.Redis", name: str) -> Any:
    """The Record of a key, as Redis answers it; None if it is gone."""
    return client.hgetall(name) if client.type(name) == "hash" else client.get(name)


def _client() -> "redis.Redis":
    return redis.Redis.from_url(settings().state_url, decode_responses=True, socket_timeout=5)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raises Redis' errors as StorageDown."""
    try:
        yield
    except redis.RedisError as error:
        raise StorageDown(refusal("the state Redis", error)) from error
