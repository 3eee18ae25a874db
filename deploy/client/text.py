"""Words for a terminal: file names that cannot harm it, sizes, and lists of left-out files."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.client.folders import LeftOut, Reason

NAMED = 2
"""So many files of one ending are named in a summary; more are counted."""
GROUPS = 8
"""So many kinds of left-out files are told apart in a summary."""
NOT_SHOWN = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of control characters and line ends."""
WHY: dict[Reason, str] = {
    "resource_fork": "a Mac's attributes of another file",
    "hidden": "hidden",
    "system_folder": "a folder of the system",
    "earlier_result": "result of an earlier run",
    "ending": "not the ending of a photo",
    "no_file": "no regular file",
    "unreadable": "cannot be read",
    "no_volume": "neither a volume nor a slice of one",
    "not_accepted": "not accepted by the server",
}


def shown(name: str | Path) -> str:
    """A file's name on one line of a terminal, without characters that would act on it."""
    text = os.fsencode(str(name)).decode("utf-8", "replace")
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in NOT_SHOWN
        else letter
        for letter in text
    )


def size(count: int) -> str:
    """A number of bytes, e.g. `3.4 MB`."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def many(count: int, what: str) -> str:
    """A number of things, e.g. `1 photo`, `2 photos`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def left_out(items: Sequence[LeftOut]) -> str:
    """What was left out of folders, on one line: `3 (2 x ._*, notes.txt)`."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for item in items:
        kinds[_kind(item)].append(item.path.name)
    ordered = sorted(kinds.items(), key=lambda item: (item[0] != "resource_fork", item[0]))
    groups = [part for kind, names in ordered for part in _group(kind, names)]
    rest = len(groups) - GROUPS
    groups = [*groups[:GROUPS], f"{rest} other kinds"] if rest > 1 else groups
    return f"{len(items)} ({', '.join(groups)})"


def _kind(item: LeftOut) -> str:
    if item.reason in ("ending", "no_volume"):
        return item.path.suffix.lower() or "without ending"
    return item.reason


def _group(kind: str, names: Sequence[str]) -> Iterator[str]:
    if kind == "resource_fork":
        yield f"{len(names)} x ._*"
    elif kind == "earlier_result":
        yield many(len(names), "result") + " of earlier runs"
    elif len(names) <= NAMED:
        why = f" ({WHY[kind]})" if kind in ("no_file", "unreadable") else ""  # type: ignore[index]
        yield from (f"{shown(name)}{why}" for name in names)
    else:
        yield f"{len(names)} x {kind}" if kind.startswith(".") else f"{len(names)} {kind}"
