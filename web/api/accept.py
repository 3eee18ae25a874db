"""Whether a request wants the picture itself as its answer, and in which format: `Accept`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tasks.errors import BadInput
from web.jobs.uploads import ALIASES

FORMATS: Mapping[str, str] = {
    "image/png": "png", "image/webp": "webp", "image/avif": "avif", "image/jpeg": "jpeg",
}  # fmt: skip
"""Media type -> value of the parameter `format`."""
_ANY_PICTURE = "image/*"
_JSON = ("application/json", "application/*", "*/*")
_CACHED = 256


@dataclass(frozen=True)
class Wish:
    """The picture that a client wants."""

    format: str
    """Value of the parameter `format`; empty: any, so the default of the model."""
    types: frozenset[str]
    """The media types that the client takes."""
    refused: frozenset[str] = frozenset()
    """Those that it excludes by name, as in `image/png;q=0`."""


def wish_of(accept: bytes) -> Wish | None:
    """What the header asks for; None: JSON, as with `*/*` or no header.

    Raises BadInput (406) for a client that takes only pictures of types that there are not.
    """
    if not accept or accept == b"*/*":
        return None
    return _wish(accept) if len(accept) <= _CACHED else _parsed(accept)


@lru_cache(maxsize=_CACHED)
def _wish(accept: bytes) -> Wish | None:
    return _parsed(accept)


def _parsed(accept: bytes) -> Wish | None:
    """RFC 9110, 12.5.1: the higher `q` wins, the earlier of two with the same one; a media range
    counts for the types that are not named themselves."""
    ranges = _ranges(accept.decode("latin-1"))
    names = list(ranges)
    types = {name: ranges.get(name, ranges.get(_ANY_PICTURE, 0.0)) for name in FORMATS}
    taken = frozenset(name for name, q in types.items() if q > 0)
    pictures = [name for name in names if name in FORMATS or name == _ANY_PICTURE]
    best = max(pictures, key=lambda name: ranges[name], default="")
    json = next((name for name in _JSON if name in ranges), "")
    if not best or not taken or ranges[best] <= 0:
        _refuse_others(names, json)
        return None
    if json and ranges[json] > ranges[best]:
        return None
    is_first = json == _JSON[0] and names.index(json) < names.index(best)
    if is_first and ranges[json] == ranges[best]:
        return None
    refused = frozenset(name for name in FORMATS if ranges.get(name) == 0)
    return Wish(FORMATS.get(best, ""), taken, refused)


def _ranges(accept: str) -> dict[str, float]:
    """Media range -> q, in the order of the header."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *options = (word.strip().lower() for word in part.split(";"))
        q = next((word[2:].strip() for word in options if word.startswith("q=")), "1")
        if name:
            ranges.setdefault(ALIASES.get(name, name), _quality(q))
    return ranges


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def _refuse_others(names: list[str], json: str) -> None:
    """Raises BadInput if only pictures of other types are wanted."""
    if not json and names and all(name.startswith("image/") for name in names):
        raise not_acceptable("none of the types in Accept can be answered")


def not_acceptable(why: str, hint: str = "") -> BadInput:
    """The error for a picture that is not of a type that the client takes."""
    return BadInput(
        why,
        code="not_acceptable",
        status=406,
        hint=hint
        or f"Pictures are {', '.join(FORMATS)}; `Accept: application/json` answers the job with "
        "the addresses of all its pictures.",
    )
