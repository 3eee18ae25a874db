"""A simulated day as SVG: what arrives, and how many workers each way of scaling has."""

from collections.abc import Callable, Sequence
from html import escape

from deploy.pilot.simulation import Machine, Result

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 380, 44, 56, 30
Scale = Callable[[float], float]
"""A value -> where it lies in the picture."""
COLOURS = ("#8a8f98", "#c2571a", "#7a4fb5", "#0b7285")
"""Of the ways to scale, in their order; the last is the pilot's."""


def draw(rates: Sequence[float], machine: Machine, results: Sequence[Result]) -> str:
    """The picture. Lines that leave it are cut off: the pilot's fills three quarters of it."""
    minutes = len(rates)
    most = max(4, *(int(n * 1.35) for _, n in results[-1].moves), results[0].moves[0][1] + 1)

    def x(minute: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * minute / minutes

    def y(workers: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * workers / most

    work = " ".join(f"{x(m):.1f},{y(rate * machine.run_s):.1f}" for m, rate in enumerate(rates))
    area = f"{LEFT},{y(0):.1f} {work} {x(minutes):.1f},{y(0):.1f}"
    lines = [
        f'<path d="{_steps(of, minutes, x, y)}" fill="none" stroke="{colour}" '
        f'stroke-width="{2.4 if of is results[-1] else 1.2}" '
        f'stroke-opacity="{1 if of.oscillations() == 0 else 0.3}"/>'
        for of, colour in zip(results, COLOURS, strict=True)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        f'<defs><clipPath id="c"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - 10}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath></defs>'
        f'<g clip-path="url(#c)"><polygon points="{area}" fill="#dbe7ea"/>{"".join(lines)}</g>'
        f"{_axes(minutes, most, x, y)}{_legend(results)}</svg>\n"
    )


def _steps(of: Result, minutes: int, x: Scale, y: Scale) -> str:
    """The number of workers that was asked for, as stairs."""
    path, before = [], of.moves[0][1]
    path.append(f"M{x(0):.1f},{y(before):.1f}")
    for at, workers in of.moves[1:]:
        path.append(f"H{x(min(at / 60, minutes)):.1f}V{y(workers):.1f}")
    return "".join([*path, f"H{x(minutes):.1f}"])


def _axes(minutes: int, most: int, x: Scale, y: Scale) -> str:
    step = max(1, most // 6)
    marks = [
        f'<text x="{LEFT - 8}" y="{y(n) + 4:.1f}" text-anchor="end" fill="#444">{n}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(n):.1f}" y2="{y(n):.1f}" stroke="#00000014"/>'
        for n in range(0, most + 1, step)
    ]
    hours = [
        f'<text x="{x(m):.1f}" y="{HEIGHT - 10}" text-anchor="middle" fill="#444">{m // 60}:00'
        "</text>"
        for m in range(0, minutes, 180)
    ]
    return "".join([*marks, *hours])


def _legend(results: Sequence[Result]) -> str:
    entries = [("#dbe7ea", "work that arrives"), *zip(
        COLOURS, (of.name for of in results), strict=True
    )]  # fmt: skip
    return "".join(
        f'<rect x="{LEFT + 180 * at}" y="16" width="14" height="10" fill="{colour}"/>'
        f'<text x="{LEFT + 180 * at + 20}" y="25" fill="#222">{escape(name)}</text>'
        for at, (colour, name) in enumerate(entries)
    )
