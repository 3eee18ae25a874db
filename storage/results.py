"""Results in the cache Redis: by request key, and where the result of equal bytes lies."""

from typing import Any

from storage import keys
from storage.redis.answers import maybe_text
from storage.redis.calls import MAYBE_TEXT, NUMBER, TEXT, Call, command


def read(request_key: str) -> Call[str | None]:
    """The JSON of a cached result."""
    return command(maybe_text, "GET", keys.result(request_key), kinds=MAYBE_TEXT)


def write(request_key: str, payload: str, ttl_s: int) -> Call[Any]:
    """Cache the JSON of a result."""
    words = ("SET", keys.result(request_key), payload, "EX", ttl_s)
    return command(lambda answer: answer, *words, kinds=TEXT)


def forget(request_key: str) -> Call[Any]:
    """Remove a result from the cache."""
    return command(lambda answer: answer, "DEL", keys.result(request_key), kinds=NUMBER)


def exchange_location(content_key: str, location: str, ttl_s: int) -> Call[str | None]:
    """Say where the result of these bytes will lie; answers where it has lain so far, if anywhere.

    It is said before the work is done, so a location may prove to be empty.
    """
    words = ("SET", keys.result_location(content_key), location, "GET", "EX", ttl_s)
    return command(maybe_text, *words, kinds=MAYBE_TEXT)
