"""The language of the pages: each text stands in the code in English, which is its name in the
catalogues (web/static/languages/*.json, which the page's JavaScript reads too)."""

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any

ENGLISH = "en"
_FOLDER = Path(__file__).parent / "static" / "languages"
LANGUAGES = (ENGLISH, *sorted(file.stem for file in _FOLDER.glob("*.json")))
"""What `?lang=` takes."""

language: ContextVar[str] = ContextVar("language", default=ENGLISH)
"""Of the page that is asked for; set by web/middleware/preferences.py."""
can_be_asked_again: ContextVar[bool] = ContextVar("can_be_asked_again", default=False)
"""Whether the page can be asked for again in another language: it is no answer to a form."""

_VALUE = re.compile(r"\{(\w*)\}")
_TEXT_NODE = re.compile(r"(<[^>]*>)([^<]*[^<\s][^<]*)")
_ATTRIBUTE = re.compile(r'\b(aria-label|title|alt|placeholder)="([^"]+)"')
_NUMBER, _ANY = r"([\d.,]+)", "(.+?)"
_NUMBERS = frozenset({"count", "done", "percent", "seconds", "status"})
"""Names of values that are nothing else."""
_LEAST_LETTERS = 3
"""Of a text with values that is recognised by its other words."""
_KEPT = 'translate="no"'


def t(text: str, **values: object) -> str:
    """The text in the page's language, with `{name}` replaced by a value; in a sentence of an
    error, the values are found in the text itself."""
    return _filled(_found(text), values)


def translated(html: str) -> str:
    """HTML in the page's language: its texts and those of attributes. Text of users must be in an
    element with `translate="no"`, or it may be taken for one of ours."""
    if language.get() == ENGLISH:
        return html
    html = _ATTRIBUTE.sub(lambda match: f'{match[1]}="{_translated(match[2])}"', html)
    return _TEXT_NODE.sub(_node, html)


def tag() -> str:
    """The page's language as HTML's `lang`."""
    return str(_catalogue(language.get()).get("tag", ENGLISH))


def name_of(code: str) -> str:
    """The name of a language in itself."""
    return str(_catalogue(code).get("name", "English"))


def _node(match: re.Match[str]) -> str:
    opening, text = match.groups()
    if _KEPT in opening:
        return match[0]
    words = text.strip()
    return f"{opening}{text.replace(words, _translated(words), 1)}"


def _translated(words: str) -> str:
    plain = " ".join(unescape(words).split())
    found = _found(plain)
    return words if found == plain else escape(found)


def _found(text: str) -> str:
    texts: Mapping[str, str] = _catalogue(language.get()).get("texts", {})
    return texts.get(text) or _sentence(text)


def _sentence(text: str) -> str:
    for pattern, names, translation in _sentences(language.get()):
        if match := pattern.fullmatch(text):
            values = map(_found, match.groups())
            return _filled(translation, dict(zip(names, values, strict=True)))
    return text


def _filled(text: str, values: Mapping[str, object]) -> str:
    return _VALUE.sub(lambda match: str(values.get(match[1], match[0])), text)


@cache
def _catalogue(code: str) -> Mapping[str, Any]:
    if code == ENGLISH:
        return {}
    read: Mapping[str, Any] = json.loads((_FOLDER / f"{code}.json").read_bytes())
    return read


@cache
def _sentences(code: str) -> tuple[tuple[re.Pattern[str], list[str], str], ...]:
    """Texts with values as patterns, the longest first: a short one may fit into a longer one."""
    texts: Mapping[str, str] = _catalogue(code).get("texts", {})
    templates = sorted(filter(_is_sentence, texts), key=len, reverse=True)
    return tuple((_pattern(text), _VALUE.findall(text), texts[text]) for text in templates)


def _is_sentence(text: str) -> bool:
    letters = re.findall("[A-Za-z]", _VALUE.sub("", text))
    return _VALUE.search(text) is not None and len(letters) >= _LEAST_LETTERS


def _pattern(text: str) -> re.Pattern[str]:
    first, *others = _VALUE.split(text)  # by turns: what is between values, and their names
    pairs = zip(others[::2], others[1::2], strict=True)
    values = (f"{_NUMBER if name in _NUMBERS else _ANY}{re.escape(rest)}" for name, rest in pairs)
    return re.compile(re.escape(first) + "".join(values), re.DOTALL)
