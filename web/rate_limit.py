"""The headers RateLimit and RateLimit-Policy, by draft-ietf-httpapi-ratelimit-headers-11.

Each quota is a policy of its own. One without a limit is not mentioned, and answers that use
nothing have no such headers: known results cost nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.quota_kinds import NAMES
from storage.quotas import Allowance

UNITS: Mapping[str, str] = {
    "bytes_per_hour": "content-bytes",
    "bytes_per_day": "content-bytes",
    "stored_bytes": "content-bytes",
    "jobs_in_flight": "concurrent-requests",
}
"""Units of the draft's registry, other than `requests`."""

_HEADERS = {
    "RateLimit-Policy": {
        "description": 'Each quota that has a limit: `"images_per_hour";q=1000;w=3600`, with its '
        "unit `qu` unless that is requests. Absent if there is none, or nothing was used.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of each, `r`, and the seconds until there is more, `t`: "
        '`"images_per_hour";r=999;t=3600`.',
        "schema": {"type": "string"},
    },
}
LIMITED: Mapping[str, Any] = {"headers": _HEADERS}
"""Both headers in the OpenAPI document, of an answer that may have them."""


def headers(allowances: Sequence[Allowance]) -> dict[str, str]:
    """Both headers; none of them without any quota."""
    limited = [item for item in allowances if item.most]
    if not limited:
        return {}
    return {
        "ratelimit-policy": ", ".join(map(_policy, limited)),
        "ratelimit": ", ".join(map(_service_limit, limited)),
    }


def exceeded(limit: str, value: float, retry_after_s: int) -> dict[str, str]:
    """Both headers of a refusal, for the limit that is reached; none if that is no quota."""
    name = "jobs_in_flight" if limit == "max_in_flight" else limit
    if name not in NAMES:
        return {}
    used_up = Allowance(name, int(value), int(value), retry_after_s * 1000)
    return headers([used_up])


def _policy(item: Allowance) -> str:
    unit = f';qu="{UNITS[item.name]}"' if item.name in UNITS else ""
    window = f";w={item.window_s}" if item.window_s else ""
    return f'"{item.name}";q={item.most}{unit}{window}'


def _service_limit(item: Allowance) -> str:
    window = f";t={item.resets_in_s}" if item.resets_in_s else ""
    return f'"{item.name}";r={item.left}{window}'
