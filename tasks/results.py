"""Results of earlier work: kept in S3 and in the cache, found again, shared by equal bytes.

S3 is asked before work is done only if the cache may have forgotten something. Both Redis are told
once since when they have been in use. A cache that is younger than the state was emptied, and one
that has evicted is full: either costs a listing of S3 per miss, not a run.

Every time a result is made it gets a folder of its own, an edition (storage/keys.py): a run that is
repeated, and two attempts at one run, never overwrite what somebody reads by a signed address.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from storage import keys
from storage import results as cached_results
from storage.errors import StorageDown
from storage.jobs import endings
from storage.jobs.spec import Spec
from storage.redis.calls import MAYBE_TEXT, TEXT, Batch, SyncRedis, command
from tasks.clients import objects, results, state
from tasks.settings import settings

RESULT = "result.json"
"""Name of the object that says what the others of a result are."""
EDITIONS = 1000
"""Objects of a result that are looked at: some hundred editions."""
MADE = "made_s"
"""Field of a result: when it was made, in seconds since 1970."""
MARGIN_MS = 60_000
"""Both are marked by the first run that asks; this much later is another beginning."""
LOOK_S = 1.0
"""How often is looked; a cache that was emptied since then costs a run."""

log = structlog.get_logger()

_looked: tuple[float, bool] = (-LOOK_S, False)


def gathered() -> Batch[Any]:
    """What is asked of the cache for the runs of one message: all in one round trip."""
    return Batch(results())


def new_edition(spec: Spec) -> str:
    """The S3 prefix of a result that is about to be stored; no other has it."""
    return keys.edition_folder(spec.user, spec.request_key, int(time.time()))


def keep(
    spec: Spec, edition: str, result: Mapping[str, Any], cache: Batch[Any]
) -> Callable[[], str]:
    """Keep a run's result, whose objects lie in its edition already; what waits for that answers
    its JSON.

    A cache that is away forgets it, which is no failure of the run.
    """
    made_s = keys.edition_made_s(edition)  # by which its objects are removed
    payload = json.dumps({**result, MADE: made_s}, separators=(",", ":"))
    objects().put(edition + RESULT, payload.encode(), "application/json")
    return _remember(spec.request_key, payload, settings().result_ttl_s, cache)


def erase(request_key: str) -> None:
    """Remove what a run has stored and kept; its record is still there to say whose it was."""
    owner = state().do(endings.result_owner(request_key))
    if not owner:
        return
    user, result_key = owner
    objects().delete_all(keys.result_folder(user, result_key))
    with suppress(StorageDown):  # a cache that is away forgets by itself
        results().do(cached_results.forget(result_key))


def recall(spec: Spec) -> str | None:
    """The result of the same request, if only the cache has lost it: costs a listing, not a GPU."""
    if not _may_have_forgotten():
        return None
    found = _newest(keys.result_folder(spec.user, spec.request_key))
    if found is None:
        return None
    now_s = int(time.time())
    left_s = found.get(MADE, now_s) + settings().result_ttl_s - now_s
    if left_s <= 0:  # its objects may be swept at any time
        return None
    payload = json.dumps(found, separators=(",", ":"))
    return _remember(spec.request_key, payload, left_s, gathered())()


def adopt(spec: Spec, sha256: str, cache: Batch[Any]) -> Callable[[], str | None]:
    """What waits for the result of equal work on the same bytes, if it was done before.

    That is, within the cache's scope. Everything is copied to this run's own folder and nothing of
    the other's referred to: whoever did the work may erase all that is theirs at any time. `sha256`
    is of the bytes really read.
    """
    own = keys.result_folder(spec.user, spec.request_key)
    place = cached_results.exchange_location(
        _content_key(spec, sha256), own, settings().result_ttl_s
    )
    answer = cache.ask(place)

    def wait() -> str | None:
        try:
            earlier = answer()
        except StorageDown as error:
            log.warning("result cache away", reason=str(error))
            return None
        return None if earlier in (None, own) else _copied(spec, earlier)

    return wait


def _copied(spec: Spec, earlier: str) -> str | None:
    """The newest result in the folder `earlier`, copied and kept; None if there is none."""
    found, edition = _newest(earlier), new_edition(spec)
    if found is None:
        return None
    try:
        for picture in found["objects"].values():
            copied = edition + picture["key"].rpartition("/")[2]
            objects().copy(picture["key"], copied)
            picture["key"] = copied
    except FileNotFoundError:  # erased between the two
        return None
    return keep(spec, edition, found, gathered())()


def _content_key(spec: Spec, sha256: str) -> str:
    return keys.content_key(
        settings().secret,
        spec.user if settings().cache_scope == "user" else "",
        sha256=sha256,
        model=spec.model,
        weights=spec.weights,
        code=spec.code,
        params=spec.params,
        output=spec.output,
    )


def _newest(folder: str) -> dict[str, Any] | None:
    """The result of the newest edition in a result's folder that is whole."""
    listed = [one.key for one in objects().page(folder, "", EDITIONS)]
    whole = [key for key in listed if key.endswith(f"/{RESULT}") and keys.edition_made_s(key)]
    for key in reversed(whole):
        with suppress(FileNotFoundError):  # removed meanwhile
            found: dict[str, Any] = json.loads(objects().get(key))
            return found
    return None


def _remember(request_key: str, payload: str, ttl_s: int, cache: Batch[Any]) -> Callable[[], str]:
    answer = cache.ask(cached_results.write(request_key, payload, ttl_s))

    def wait() -> str:
        try:
            answer()
        except StorageDown as error:
            log.warning("result not remembered", reason=str(error))
        return payload

    return wait


def _may_have_forgotten() -> bool:
    global _looked
    if time.monotonic() - _looked[0] > LOOK_S:
        try:
            forgetful = _is_younger() or _is_evicting()
        except StorageDown as error:
            log.warning("result cache away", reason=str(error))
            forgetful = True
        _looked = (time.monotonic(), forgetful)
    return _looked[1]


def _is_younger() -> bool:
    known_ms, begun_ms = _in_use_since_ms(results()), _in_use_since_ms(state())
    # Results of before the cache's beginning are expired by now, or may still be there.
    is_recent = time.time() * 1000 - known_ms < settings().result_ttl_s * 1000
    return is_recent and known_ms - begun_ms > MARGIN_MS


def _in_use_since_ms(link: SyncRedis) -> int:
    now_ms = int(time.time() * 1000)
    words = ("SET", keys.SINCE, now_ms, "NX", "GET")
    return link.do(command(lambda old: int(old or now_ms), *words, kinds=MAYBE_TEXT))


def _is_evicting() -> bool:
    return results().do(command(_has_evicted, "INFO", "stats", kinds=TEXT))


def _has_evicted(answer: Any) -> bool:
    lines = dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    return int(lines.get("evicted_keys", 0)) > 0
