"""`pixelmill backup` and `restore`: accounts and API keys in one file. Results lie in S3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from deploy.servers import write_secretly
from storage import keys
from storage.errors import StorageDown, refusal
from tasks.errors import BadInput
from tasks.settings import settings

VERSION = 1
PATTERNS = (keys.user("*"), keys.API_KEY_PREFIX + "*")


def backup(file: Path) -> int:
    """Write all accounts and keys, readable by this user alone; answers how many records.

    Passwords and keys are in it as hashes; that is enough to guess weak ones, so keep it safe.
    """
    with _client() as client, _mapped():
        names = sorted({name for pattern in PATTERNS for name in client.scan_iter(pattern)})
        records = {name: _read(client, name) for name in names}
    found = {name: value for name, value in records.items() if value}  # not deleted meanwhile
    whole = {"pixelmill_backup": VERSION, "made": datetime.now(UTC).isoformat(), "records": found}
    write_secretly(file, json.dumps(whole, indent=1))
    return len(found)


def restore(file: Path) -> int:
    """Write back what a backup holds, over what is there; what is not in it stays."""
    records = _records(file)
    with _client() as client, _mapped():
        for name, value in records.items():
            pipe = client.pipeline(transaction=True)  # no account without its password in between
            if isinstance(value, dict):
                pipe.delete(name).hset(name, mapping=value)
            else:
                pipe.set(name, value)
            pipe.execute()
    return len(records)


def _records(file: Path) -> dict[str, Any]:
    try:
        whole = json.loads(file.read_text())
        is_ours = whole["pixelmill_backup"] == VERSION
        records: dict[str, Any] = whole["records"]
        begins = tuple(pattern.rstrip("*") for pattern in PATTERNS)
        is_ours = is_ours and all(name.startswith(begins) for name in records)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is no backup of Pixelmill") from error
    if not is_ours:
        raise BadInput(f"{file} is no backup of this version of Pixelmill")
    return records


def _read(client: "redis.Redis", name: str) -> Any:
    kind = client.type(name)
    return client.hgetall(name) if kind == "hash" else client.get(name)


def _client() -> "redis.Redis":
    return redis.Redis.from_url(settings().state_url, decode_responses=True, socket_timeout=5)


@contextmanager
def _mapped() -> Iterator[None]:
    """Redis' errors as StorageDown."""
    try:
        yield
    except redis.RedisError as error:
        raise StorageDown(refusal("the state Redis", error)) from error
