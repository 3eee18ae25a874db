"""Whether the result cache may have forgotten something: only then is S3 asked before work is done.

Both Redis are told once since when they have been in use. A cache that is younger than the state
was emptied, and one that has evicted is full: either costs a read of S3 per miss, not a run.
"""

import time
from typing import Any

from storage import keys
from storage.calls import command
from tasks.resources import results, state
from tasks.settings import settings

MARGIN_MS = 60_000
"""Both are marked by the first run that asks; this much later is another beginning."""
LOOK_S = 10.0
"""How often evictions are asked for."""

_evicting: tuple[float, bool] = (-LOOK_S, False)


def may_have_forgotten() -> bool:
    """Whether a result that is not in the cache may still lie in S3."""
    now_ms = int(time.time() * 1000)
    known_since = results().do(command(_int, "SET", keys.SINCE, now_ms, "NX", "GET")) or now_ms
    begun = state().do(command(_int, "SET", keys.SINCE, now_ms, "NX", "GET")) or now_ms
    is_younger = known_since - begun > MARGIN_MS
    outlived = now_ms - known_since > settings().result_ttl_s * 1000  # older ones are expired
    return (is_younger and not outlived) or _is_evicting()


def _is_evicting() -> bool:
    global _evicting
    if time.monotonic() - _evicting[0] > LOOK_S:
        _evicting = (time.monotonic(), results().do(command(_has_evicted, "INFO", "stats")))
    return _evicting[1]


def _int(answer: Any) -> int | None:
    return None if answer is None else int(answer)


def _has_evicted(answer: Any) -> bool:
    lines = dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    return int(lines.get("evicted_keys", 0)) > 0
