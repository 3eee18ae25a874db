"""The order of files by their names, which is all that exported pictures have."""

import re


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `slice2` before `slice10`."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(int(part[:18]), "") if part.isdigit() else (-1, part) for part in parts]
