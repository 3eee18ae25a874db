"""Reads answers of Redis: bytes or text, pairs or maps, whatever the client is set to."""

from collections.abc import Iterable, Mapping
from typing import Any

from storage.redis.connection import Word


def text(word: Any) -> Any:
    """A word as text; a number as it is."""
    return word.decode() if isinstance(word, bytes) else word


def maybe_text(word: Any) -> str | None:
    """A word as text; None where there is none."""
    return None if word is None else text(word)


def texts(words: Iterable[Any]) -> list[str]:
    """A list of words as text."""
    return [text(word) for word in words]


def ints(words: Iterable[Any]) -> list[int]:
    """A list of words as numbers."""
    return [int(word) for word in words]


def fields(answer: Any) -> dict[str, str]:
    """A hash: pairs in RESP2, a map in RESP3."""
    if isinstance(answer, Mapping):
        return {text(name): text(value) for name, value in answer.items()}
    words = texts(answer)
    return dict(zip(words[::2], words[1::2], strict=True))


def flat(record: Mapping[str, Word]) -> list[Word]:
    """A record as the words of HSET."""
    return [word for pair in record.items() for word in pair]
