"""The kinds of quotas, for Python and for scripts."""

from collections.abc import Mapping
from typing import Literal, get_args

Name = Literal[
    "images_per_hour", "images_per_day", "bytes_per_hour", "bytes_per_day", "stored_bytes",
    "jobs_in_flight",
]  # fmt: skip
NAMES: tuple[Name, ...] = get_args(Name)
WINDOWS_MS: Mapping[str, int] = {"hour": 3_600_000, "day": 86_400_000}
WINDOW_QUOTAS = tuple(
    {"name": f"{what}_per_{window}", "of": what, "window": window}
    for what in ("images", "bytes")
    for window in WINDOWS_MS
)
"""The quotas of something per window, in the order of NAMES."""
UNLIMITED = 0
GRAINS = 24
"""What is stored is counted by when it expires, to this part of its whole life."""
