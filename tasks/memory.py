"""Whether the result cache may have forgotten something: only then is S3 asked before work is done.

Both Redis are told once since when they have been in use. A cache that is younger than the state
was emptied, and one that has evicted is full: either costs a read of S3 per miss, not a run.
"""

import time
from typing import Any

import structlog

from storage import keys, records
from storage.calls import Sync, command
from storage.errors import StorageDown
from tasks.resources import results, state
from tasks.settings import settings

MARGIN_MS = 60_000
"""Both are marked by the first run that asks; this much later is another beginning."""
LOOK_S = 1.0
"""How often is looked; a cache that was emptied since then costs a run."""

log = structlog.get_logger()

_looked: tuple[float, bool] = (-LOOK_S, False)


def may_have_forgotten() -> bool:
    """Whether a result that is not in the cache may still lie in S3."""
    global _looked
    if time.monotonic() - _looked[0] > LOOK_S:
        try:
            forgetful = _is_younger() or _is_evicting()
        except StorageDown as error:
            log.warning("result cache away", reason=str(error))
            forgetful = True
        _looked = (time.monotonic(), forgetful)
    return _looked[1]


def remember(result_key: str, payload: str) -> None:
    """Keep a result in the cache; one that is away forgets it, which is no failure of the run."""
    try:
        results().do(records.remember_result(result_key, payload, settings().result_ttl_s))
    except StorageDown as error:
        log.warning("result not remembered", reason=str(error))


def _is_younger() -> bool:
    known_ms, begun_ms = _in_use_since_ms(results()), _in_use_since_ms(state())
    # Results of before the cache's beginning are expired by now, or may still be there.
    is_recent = time.time() * 1000 - known_ms < settings().result_ttl_s * 1000
    return is_recent and known_ms - begun_ms > MARGIN_MS


def _in_use_since_ms(link: Sync) -> int:
    now_ms = int(time.time() * 1000)
    return link.do(command(lambda old: int(old or now_ms), "SET", keys.SINCE, now_ms, "NX", "GET"))


def _is_evicting() -> bool:
    return results().do(command(_has_evicted, "INFO", "stats"))


def _has_evicted(answer: Any) -> bool:
    lines = dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    return int(lines.get("evicted_keys", 0)) > 0
