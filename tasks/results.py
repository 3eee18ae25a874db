"""Results of runs: saved in S3 and in the cache, restored from S3, and reused for equal bytes.

Before a run is computed, S3 is asked only if the cache may have lost something. Each Redis records
since when it has been in use. A cache younger than the state Redis was emptied, and a cache that
has evicted keys is full: both cost a listing of S3 per miss, not a run.

Every result that is made gets a folder of its own, an edition (storage/object_keys.py). So a
repeated run, and two attempts at one run, never overwrite what somebody reads by a signed address.
"""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from storage import keys, object_keys, request_keys
from storage import results as cached_results
from storage.errors import StorageDown
from storage.jobs import endings
from storage.jobs.endings import End
from storage.jobs.result import StoredObject, StoredResult
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import MAYBE_TEXT, TEXT, Batch, SyncRedis, command
from tasks.clients import objects, results, state
from tasks.models.cutouts import UPLOAD_ID
from tasks.settings import settings

RESULT = "result.json"
"""Name of the object that describes the other objects of a result."""
MAX_LISTED = 1000
"""Objects of a result that are listed: some hundred editions."""
MARGIN_MS = 60_000
"""The first run that asks marks both Redis. A cache marked this much later was emptied."""
CHECK_EVERY_S = 1.0
"""How often that is checked. A cache that was emptied since the last check costs a run."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))

log = structlog.get_logger()

_checked: tuple[float, bool] = (-CHECK_EVERY_S, False)
"""When it was last checked, and whether the cache may have lost results."""


def cache_batch() -> Batch[Any]:
    """Gathers the cache calls for the runs of one message into one round trip."""
    return Batch(results())


def new_edition(spec: Spec) -> str:
    """The S3 prefix of a result that is about to be saved. No other result has it."""
    return object_keys.edition_folder(spec.user, spec.request_key, int(time.time()))


def save(spec: Spec, edition: str, result: StoredResult, cache: Batch[Any]) -> Callable[[], str]:
    """Save a run's result, whose objects are in its edition already.

    The returned function waits for the cache and returns the result's JSON. An unavailable cache
    only means that the result is not cached.
    """
    made_s = object_keys.edition_made_s(edition)  # the time by which its objects are removed
    payload = to_json({**result, "made_s": made_s})
    objects().put(edition + RESULT, payload.encode(), "application/json")
    return _cached(spec.request_key, payload, settings().reuse_ttl_s, cache)


def saved_end(ref: RunRef, payload: str) -> End:
    """The end of a run whose result, this JSON, was copied for it from an earlier run's."""
    result: StoredResult = json.loads(payload)
    return End(
        ref,
        "done",
        payload,
        stored_bytes=stored_bytes(result),
        made_s=result.get("made_s", 0),
    )


def earlier_end(ref: RunRef, payload: str) -> End:
    """The end of a run that this JSON, the result of an earlier run, answers."""
    return End(ref, "done", payload, made_s=json.loads(payload).get("made_s", 0))


def to_json(result: StoredResult) -> str:
    """The result as the cache, S3 and the run's record have it."""
    return _ENCODER.encode(result)


def erase(request_key: str) -> None:
    """Remove all that a run has saved. Its record must still exist, to say whose run it was."""
    owner = state().do(endings.result_owner(request_key))
    if not owner:
        return
    user, result_key = owner
    objects().delete_all(object_keys.result_folder(user, result_key))
    with suppress(StorageDown):  # the cached result expires by itself
        results().do(cached_results.forget(result_key))


def stored_bytes(result: StoredResult) -> int:
    """How much the objects of a result take."""
    return sum(image["bytes"] for image in pictures_of(result))


def pictures_of(result: StoredResult) -> list[StoredObject]:
    """All objects of a result, its thumbnail included."""
    small = result.get("thumbnail")
    return [*result["objects"].values(), *([small] if small else [])]


def restore(spec: Spec) -> str | None:
    """The result of the same request, if only the cache has lost it: a listing instead of a run."""
    if not _cache_may_lack_results():
        return None
    result = _newest(object_keys.result_folder(spec.user, spec.request_key))
    if result is None:
        return None
    now_s = int(time.time())
    left_s = result.get("made_s", now_s) + settings().reuse_ttl_s - now_s
    if left_s <= 0:  # its objects may be removed at any time
        return None
    return _cached(spec.request_key, to_json(result), left_s, cache_batch())()


def reuse(spec: Spec, sha256: str, cache: Batch[Any]) -> Callable[[], str | None]:
    """Look for the result of equal work on the same bytes, within the cache's scope.

    The returned function waits for the answer; None if there is none. Everything is copied to this
    run's own folder and nothing refers to the other run's, whose owner may erase everything at any
    time. `sha256` is that of the bytes that were read.
    """
    own = object_keys.result_folder(spec.user, spec.request_key)
    location = cached_results.exchange_location(
        _content_key(spec, sha256), own, settings().reuse_ttl_s
    )
    answer = cache.ask(location)

    def wait() -> str | None:
        try:
            earlier = answer()
        except StorageDown as error:
            log.warning("result cache unavailable", reason=str(error))
            return None
        return None if earlier in (None, own) else _copied(spec, earlier)

    return wait


def _copied(spec: Spec, earlier: str) -> str | None:
    """The newest result in the folder `earlier`, copied and saved; None if there is none."""
    result, edition = _newest(earlier), new_edition(spec)
    if result is None:
        return None
    try:
        for image in pictures_of(result):
            copied = edition + image["key"].rpartition("/")[2]
            objects().copy(image["key"], copied)
            image["key"] = copied
    except FileNotFoundError:  # it was erased meanwhile
        return None
    return save(spec, edition, result, cache_batch())()


def _content_key(spec: Spec, sha256: str) -> str:
    return request_keys.content_key(
        settings().secret,
        spec.user if settings().cache_scope == "user" or _names_upload(spec) else "",
        sha256=sha256,
        model=spec.model,
        weights=spec.weights,
        code=spec.code,
        params=spec.params,
        output=spec.output,
    )


def _names_upload(spec: Spec) -> bool:
    """Whether another upload is part of the result: its id says nothing among other users."""
    return any(re.fullmatch(UPLOAD_ID, str(value)) for value in spec.params.values())


def _newest(folder: str) -> StoredResult | None:
    """The result of the newest complete edition in a result's folder."""
    listed = [item.key for item in objects().page(folder, "", MAX_LISTED)]
    complete = [
        key for key in listed if key.endswith(f"/{RESULT}") and object_keys.edition_made_s(key)
    ]
    for key in reversed(complete):
        with suppress(FileNotFoundError):  # removed meanwhile
            result: StoredResult = json.loads(objects().get(key))
            return result
    return None


def _cached(request_key: str, payload: str, ttl_s: int, cache: Batch[Any]) -> Callable[[], str]:
    answer = cache.ask(cached_results.write(request_key, payload, ttl_s))

    def wait() -> str:
        try:
            answer()
        except StorageDown as error:
            log.warning("result not cached", reason=str(error))
        return payload

    return wait


def _cache_may_lack_results() -> bool:
    global _checked
    if time.monotonic() - _checked[0] > CHECK_EVERY_S:
        try:
            may_lack = _was_emptied() or _is_evicting()
        except StorageDown as error:
            log.warning("result cache unavailable", reason=str(error))
            may_lack = True
        _checked = (time.monotonic(), may_lack)
    return _checked[1]


def _was_emptied() -> bool:
    cache_ms, state_ms = _in_use_since_ms(results()), _in_use_since_ms(state())
    # Once the cache is older than `reuse_ttl_s`, all results that it may have lost have expired.
    is_recent = time.time() * 1000 - cache_ms < settings().reuse_ttl_s * 1000
    return is_recent and cache_ms - state_ms > MARGIN_MS


def _in_use_since_ms(client: SyncRedis) -> int:
    now_ms = int(time.time() * 1000)
    words = ("SET", keys.SINCE, now_ms, "NX", "GET")
    return client.do(command(lambda since: int(since or now_ms), *words, kinds=MAYBE_TEXT))


def _is_evicting() -> bool:
    return results().do(command(_has_evicted, "INFO", "stats", kinds=TEXT))


def _has_evicted(answer: Any) -> bool:
    lines = dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    return int(lines.get("evicted_keys", 0)) > 0
