"""Checks of the servers that keep the state: Redis and S3."""

import statistics
import time
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import Any

import boto3
import redis

from deploy.doctor.finding import ANSWER_S, Finding, Level
from deploy.supervision.probes import impatient_redis
from storage import object_keys, schema
from storage.errors import OldLayout, StorageDown
from storage.redis.calls import SyncRedis
from tasks.clients import objects_of
from tasks.settings import MIB, Settings, server_of
from web.jobs.room import STATE_SHARE

ROUND_TRIPS = 20
OLDEST_REDIS = (7, 2)
"""The first with WAITAOF: see storage/redis/durable.py."""
SLOW_MS = 5
"""A round trip to Redis that takes longer slows every job down."""


def state_redis(settings: Settings) -> Iterable[Finding]:
    """The Redis of queue and jobs: its speed, whether it can lose data, its memory, its clock."""
    client = impatient_redis(settings.state_url, ANSWER_S)
    yield _round_trip(client, "state Redis", settings.state_url)
    yield from _layout(client)
    info = client.info()
    yield from version(info)
    yield _configuration(
        "state keeps data",
        {
            "appendonly yes": bool(info.get("aof_enabled")),
            "maxmemory-policy noeviction": info.get("maxmemory_policy") == "noeviction",
        },
        "Otherwise jobs are lost when it restarts or its memory is full.",
    )
    if settings.durable:
        yield from _flushes(client)
    yield _writes_and_memory(info)
    yield _clock(client)


def cache_redis(settings: Settings) -> Iterable[Finding]:
    """The Redis of results: its speed, and whether it evicts by itself."""
    client = impatient_redis(settings.cache_url, ANSWER_S)
    yield _round_trip(client, "cache Redis", settings.cache_url)
    info = client.info("memory")
    yield _configuration(
        "cache evicts",
        {
            "maxmemory-policy allkeys-lru": str(info.get("maxmemory_policy")).startswith("allkeys"),
            "maxmemory above 0": bool(info.get("maxmemory")),
        },
        "Otherwise it grows until the memory of its machine is full.",
    )


def scratch_redis(settings: Settings) -> Iterable[Finding]:
    """The Redis of the arrays between stages, if there is one."""
    if settings.scratch_url:
        client = impatient_redis(settings.scratch_url, ANSWER_S)
        yield _round_trip(client, "scratch Redis", settings.scratch_url)


def s3(settings: Settings) -> Iterable[Finding]:
    """Writes, reads and deletes a small object."""
    if not _has_credentials(settings):
        hint = "Set PIXELMILL_S3_KEY and PIXELMILL_S3_SECRET; `pixelmill up` does it by itself."
        yield Finding("fail", "S3", f"there is no key for {settings.s3_url}", hint)
        return
    store, data = objects_of(settings, timeout_s=ANSWER_S), token_hex(512).encode()
    key = object_keys.upload_object("doctor", token_hex(16))
    where = f"{settings.s3_url}, bucket {settings.s3_bucket}"
    began = time.perf_counter()
    try:
        store.put(key, data, "application/octet-stream")
        is_same = store.get(key) == data
        store.delete(key)
    except FileNotFoundError:
        hint = "Make the bucket: `pixelmill init`."
        yield Finding("fail", "S3", f"{where}: there is no such bucket", hint)
        return
    except StorageDown as error:
        yield Finding("fail", "S3", str(error), _hint_of_refusal(str(error)))
        return
    ms = (time.perf_counter() - began) * 1000
    if is_same:
        yield Finding("ok", "S3", f"{ms:.1f} ms to write, read and delete ({where})")
    else:
        hint = "Look for a proxy or cache in front of it that changes what it passes on."
        yield Finding("fail", "S3", f"{where}: other bytes were read than written", hint)


def _hint_of_refusal(said: str) -> str:
    if "RequestTimeTooSkewed" in said:  # S3's own code for it; its keys may be right
        return "Set the clocks of this host and of S3 by NTP."
    return "Check PIXELMILL_S3_URL, _KEY and _SECRET; `pixelmill up` starts an S3 server."


def _layout(client: "redis.Redis") -> Iterable[Finding]:
    try:
        schema.refuse_old_layout(SyncRedis(client, "the state Redis"))
    except OldLayout as error:
        yield Finding("fail", "state layout", "of an earlier Pixelmill", str(error))


def version(info: Mapping[str, Any]) -> Iterable[Finding]:
    """Whether the state Redis is too old. `info`: what INFO answers; Valkey names there the Redis
    that it is like."""
    found = str(info.get("redis_version", "0"))
    if tuple(map(int, found.split(".")[:2])) < OLDEST_REDIS:
        value = f"Redis {found}, expected {'.'.join(map(str, OLDEST_REDIS))} or newer, or Valkey"
        hint = "Accounts, API keys and quotas need its WAITAOF."
        yield Finding("fail", "state version", value, hint)


def _round_trip(client: "redis.Redis", what: str, url: str) -> Finding:
    times_ms = []
    for _ in range(ROUND_TRIPS + 1):
        began = time.perf_counter()
        client.time()  # PING is refused while the last write to its disk has failed
        times_ms.append((time.perf_counter() - began) * 1000)
    ms = statistics.median(times_ms[1:])  # the first one connects
    value = f"{ms:.2f} ms per round trip ({server_of(url)})"
    if ms > SLOW_MS:
        hint = "Each job makes many round trips: run Redis closer to web and workers."
        return Finding("warn", what, value, hint)
    return Finding("ok", what, value)


def _configuration(what: str, expected: Mapping[str, bool], why: str) -> Finding:
    """`expected`: configuration -> whether the server has it."""
    wrong = [configuration for configuration, is_so in expected.items() if not is_so]
    if wrong:
        hint = f"{why} Set it on the server."
        return Finding("warn", what, f"expected {', '.join(wrong)}", hint)
    return Finding("ok", what, ", ".join(expected))


def _flushes(client: "redis.Redis") -> Iterable[Finding]:
    """Whether jobs are on the disk before they are answered (storage/redis/durable.py)."""
    what = "state on disk"
    try:
        flushes = str(client.config_get("appendfsync")["appendfsync"])
    except redis.ResponseError:  # an account that may do only what it has to
        hint = "Look on the server whether it has `appendfsync always`."
        yield Finding("warn", what, "this account may not ask for appendfsync", hint)
        return
    if flushes == "always":
        yield Finding("ok", what, "appendfsync always")
    else:
        hint = "PIXELMILL_DURABLE needs it: some servers answer WAITAOF too early without it."
        yield Finding("warn", what, f"appendfsync {flushes}, expected always", hint)


def _writes_and_memory(info: Mapping[str, Any]) -> Finding:
    """Whether Redis takes writes, and how full its memory is. `info`: what INFO answers."""
    if info.get("aof_last_write_status", "ok") != "ok":
        value = "the last write to its append-only file failed"
        hint = "Its disk is full or broken. Free some space; it then continues by itself."
        return Finding("fail", "state writes", value, hint)
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        value = f"{used / MIB:.0f} MiB used, maxmemory is 0"
        hint = "Set maxmemory, so that new work is refused before the machine's memory is full."
        return Finding("warn", "state memory", value, hint)
    value = f"{used / MIB:.0f} MiB used of {limit / MIB:.0f} MiB"
    if used > limit * STATE_SHARE:
        hint = "New work is refused. Wait until jobs have ended, or give Redis more memory."
        return Finding("fail", "state memory", value, hint)
    return Finding("ok", "state memory", value)


def _clock(client: "redis.Redis") -> Finding:
    before = time.time()
    seconds, microseconds = client.time()
    here = (before + time.time()) / 2
    apart_s = abs(seconds + microseconds / 1e6 - here)
    level: Level = "fail" if apart_s > 30 else "warn" if apart_s > 1 else "ok"
    hint = "" if level == "ok" else "Set both clocks by NTP: signed addresses depend on them."
    return Finding(level, "clock", f"{apart_s * 1000:.1f} ms from that of the state Redis", hint)


def _has_credentials(settings: Settings) -> bool:
    """Whether there is a key in the settings, or where boto3 finds one (such as a role)."""
    if settings.s3_key or settings.s3_url.startswith("file:"):
        return True
    return boto3.Session().get_credentials() is not None
