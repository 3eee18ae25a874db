"""Numbers as people read them."""

from math import isinf


def size(count: float) -> str:
    """Bytes, such as `1.2 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(ms: float) -> str:
    """Such as `12 ms`, `3.4 s` or `5 min`."""
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"


def share(part: float, whole: float) -> str:
    """In per cent; a dash of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def limit(value: float, unit: str = "") -> str:
    """A limit; 0 stands for none."""
    if not value or isinf(value):
        return "no limit"
    return f"{value:,g} {unit}".rstrip()
