"""All that an installation has stored, for tests that look for a text in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis


def in_redis(client: "redis.Redis", *, but: frozenset[bytes] = frozenset()) -> Iterator[bytes]:
    """Every key of a Redis, with all that it holds, as one text each; `but` for these keys."""
    for key in client.scan_iter(count=1000):
        if key not in but:
            yield b" ".join([key, *_words(_value(client, key))])


def in_folder(folder: Path) -> Iterator[bytes]:
    """Every path below a folder, and the content of every file."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)).encode()
        if path.is_file():
            yield path.read_bytes()


def _value(client: "redis.Redis", key: bytes) -> Any:
    reads: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"list": lambda name: client.lrange(name, 0, -1),
        b"stream": client.xrange,
    }
    kind = client.type(key)
    return reads[kind](key) if kind in reads else b""  # it may have expired meanwhile


def _words(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _words(pair)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _words(item)
