"""What sections are made of. Each is replaced by its new state when the page refreshes itself."""

from collections.abc import Sequence
from html import escape


def part(name: str, *content: str) -> str:
    """A part of the page that static/system/refresh.js replaces by the one of the same name."""
    return f'<div class="{name}" data-part="{name}">{"".join(content)}</div>'


def table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> str:
    """A table, which scrolls on narrow screens; cells are HTML. `nothing` stands for no rows."""
    if not rows:
        return f'<div class="scroll" data-part="{name}">{empty(nothing)}</div>'
    titles = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{heads[0]} table" '
        f'data-part="{name}"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def tile(name: str, number: object, about: str, *, is_bad: bool = False) -> str:
    """One number that is seen at once."""
    mark = ' class="bad"' if is_bad else ""
    return f"<p><span>{name}</span><b{mark}>{number}</b><small>{about}</small></p>"


def empty(text: str) -> str:
    """What stands where there is nothing to show."""
    return f"<p><small>{text}</small></p>"


def plain(text: str) -> str:
    """Text from outside, which is not translated."""
    return f'<span translate="no">{escape(text)}</span>'
