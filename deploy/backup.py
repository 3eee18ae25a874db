"""`pixelmill backup` and `restore`: accounts, API keys, quotas of users and links in one file."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict

import redis

from deploy.private_file import write_private
from storage import keys, quota_keys, users
from storage.errors import StorageDown, refusal
from tasks.errors import BadInput
from tasks.settings import settings

VERSION = 2
KINDS: Mapping[str, Sequence[str]] = {
    "accounts": [keys.USER_PREFIX],
    "API keys": [keys.API_KEY_PREFIX],
    "quotas": [quota_keys.QUOTA_PREFIX],
    "links": [keys.SHARE_PREFIX],
    "lists": [keys.USER_KEYS_PREFIX, keys.USER_SHARES_PREFIX],
}
"""What a backup has -> how the keys begin. Sessions are not in it: people sign in again."""
PREFIXES = tuple(prefix for prefixes in KINDS.values() for prefix in prefixes)


class Record(TypedDict):
    """A Redis key: a hash, or the members of a sorted set with their scores."""

    type: Literal["hash", "zset"]
    value: dict[str, Any]
    expires_ms: int | None
    """Since 1970; null: never."""


Records = dict[str, Record]


def backup(file: Path) -> dict[str, int]:
    """Write all records, readable by this user alone; returns how many there are of each kind.

    Passwords and keys are in the file as hashes. That is enough to guess weak ones: keep it safe.
    """
    with _client() as client, _storage_errors():
        names = {name for prefix in PREFIXES for name in client.scan_iter(prefix + "*")}
        read = {name: _read(client, name) for name in sorted(names)}
    records = {name: record for name, record in read.items() if record}  # not deleted meanwhile
    counts = _counts(records)
    content = {
        "pixelmill_backup": VERSION,
        "made": datetime.now(UTC).isoformat(),
        "counts": counts,
        "sha256": _sha256(records),
        "records": records,
    }
    write_private(file, json.dumps(content, indent=1))
    return counts


def restore(file: Path) -> dict[str, int]:
    """Write the records of a backup over the present ones; others stay. Returns how many of each
    kind. Raises BadInput, and writes nothing, if the file is not whole."""
    records = _records(file)
    now_ms = int(time.time() * 1000)
    lasting = {n: record for n, record in records.items() if _lasts(record, now_ms)}
    with _client() as client, _storage_errors():
        for name, record in lasting.items():
            _write(client, name, record)
    return _counts(lasting)


def as_text(counts: Mapping[str, int]) -> str:
    """What was written or restored, for people: whom a list of keys is of, they need not know."""
    shown = {kind: count for kind, count in counts.items() if kind != "lists"}
    return ", ".join(
        f"{count} {kind.removesuffix('s') if count == 1 else kind}" for kind, count in shown.items()
    )


def _records(file: Path) -> Records:
    try:
        content = json.loads(file.read_text())
        version, records = content["pixelmill_backup"], content["records"]
        is_ours = version == VERSION and all(name.startswith(PREFIXES) for name in records)
        is_whole = is_ours and content["sha256"] == _sha256(records)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is not a backup of Pixelmill") from error
    if not is_ours:
        raise BadInput(f"{file} is not a backup of this version of Pixelmill")
    if not is_whole:
        raise BadInput(f"{file} is damaged: its records do not have the hash that it names")
    return dict(records)


def _lasts(record: Record, now_ms: int) -> bool:
    return record["expires_ms"] is None or record["expires_ms"] > now_ms


def _read(client: "redis.Redis", name: str) -> Record | None:
    """The record of a key; None if it is gone."""
    expires_ms = client.pexpiretime(name)
    is_list = client.type(name) == "zset"
    value: Any = client.zrange(name, 0, -1, withscores=True) if is_list else client.hgetall(name)
    if not value:
        return None
    return {
        "type": "zset" if is_list else "hash",
        "value": dict(value),
        "expires_ms": expires_ms if expires_ms > 0 else None,
    }


def _write(client: "redis.Redis", name: str, record: Record) -> None:
    pipe: Any = client.pipeline(transaction=True)  # at no time an account has no password
    pipe.delete(name)
    if record["type"] == "zset":
        pipe.zadd(name, record["value"])
    else:
        pipe.hset(name, mapping=record["value"])
    if name.startswith(keys.USER_PREFIX):
        # Sessions that were ended since the backup do not come back.
        pipe.hset(name, "epoch", users.new_epoch())
    if record["expires_ms"] is not None:
        pipe.pexpireat(name, record["expires_ms"])
    pipe.execute()


def _counts(records: Records) -> dict[str, int]:
    kind_of = {prefix: kind for kind, prefixes in KINDS.items() for prefix in prefixes}
    counts = Counter(
        kind for name in records for prefix, kind in kind_of.items() if name.startswith(prefix)
    )
    return {kind: counts[kind] for kind in KINDS}


def _sha256(records: Records) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def _client() -> "redis.Redis":
    return redis.Redis.from_url(settings().state_url, decode_responses=True, socket_timeout=5)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raises Redis' errors as StorageDown."""
    try:
        yield
    except redis.RedisError as error:
        raise StorageDown(refusal("the state Redis", error)) from error
