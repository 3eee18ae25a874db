"""Makes text from outside fit for a message: short, and free of characters that do something."""

from tasks.log import printable

MAX_VALUE = 80
"""Characters of a name or value that a message repeats."""
MAX_SENTENCE = 300
"""Characters of a message written by a library, which may repeat what the library was given."""


def shown(value: object, limit: int = MAX_VALUE) -> str:
    """The value in quotes, shortened; unprintable characters appear as escapes."""
    text = str(value)
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def sentence(message: object, limit: int = MAX_SENTENCE) -> str:
    """A message that may contain text from outside: shortened, on one line, escaped."""
    text = str(message)
    return printable(text if len(text) <= limit else f"{text[:limit]}…")
