"""Small pictures of numbers as inline SVG, which needs no script and no style of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDE = 600
"""Units of the width of each picture; its real width is its column's."""


@dataclass(frozen=True)
class Part:
    """One of the parts that make up a bar or a column."""

    name: str
    """Also its class in system.css, which gives it its colour."""
    value: float


def columns(parts: Sequence[tuple[str, Sequence[float]]], label: str, *, height: int = 90) -> str:
    """Stacked columns, one for each moment: `parts` are (name, a value for each moment), the
    lowest first. `label` says in words what is seen."""
    moments = list(zip(*(values for _, values in parts), strict=True))
    highest = max(map(sum, moments), default=0) or 1
    step = WIDE / max(len(moments), 1)
    drawn = []
    for at, values in enumerate(moments):
        top = float(height)
        for (name, _), value in zip(parts, values, strict=True):
            tall = value / highest * height
            top -= tall
            if value:
                place = f'x="{at * step + 1:.1f}" y="{top:.1f}"'
                area = f'width="{step - 2:.1f}" height="{max(tall, 1):.1f}"'
                drawn.append(f'<rect class="{name}" {place} {area}/>')
    base = f'<path class="base" d="M0 {height}H{WIDE}"/>'
    return _picture("".join(drawn) + base, label, height + 1)


def bar(parts: Sequence[Part], label: str, *, whole: float = 0, height: int = 14) -> str:
    """The parts side by side, as shares of `whole` (0: of all of them together)."""
    whole = whole or sum(part.value for part in parts) or 1
    drawn, left = [f'<rect class="ground" width="{WIDE}" height="{height}"/>'], 0.0
    for part in parts:
        wide = min(part.value / whole, 1) * WIDE
        if wide > 0:
            area = f'x="{left:.1f}" width="{wide:.1f}" height="{height}"'
            drawn.append(f'<rect class="{part.name}" {area}/>')
        left += wide
    return _picture("".join(drawn), label, height)


def fill(used: float, most: float, label: str) -> str:
    """How full something is; its colour says whether that is much."""
    of = used / most if most else 0
    return bar([Part("full" if of > 0.8 else "used", of)], label, whole=1)


def legend(*names: str) -> str:
    """What the colours mean: class of each part, which is also its word."""
    keys = "".join(f'<li><i class="{name}"></i>{name.replace("-", " ")}</li>' for name in names)
    return f'<ul class="legend">{keys}</ul>'


def _picture(drawn: str, label: str, height: int) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDE} {height}" '
        f'preserveAspectRatio="none" height="{height}">{drawn}</svg>'
    )
