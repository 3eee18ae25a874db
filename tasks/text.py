"""Text from outside, made fit for messages and logs: short, and without anything that acts."""

MOST_SHOWN = 80
"""Characters of a name or value that a message repeats."""
MOST_SENTENCE = 300
"""Characters of a message that a library wrote, which may repeat what it was given."""


def shown(value: object, most: int = MOST_SHOWN) -> str:
    """The value in quotes, shortened; what is not printable appears as an escape."""
    text = str(value)
    return repr(text if len(text) <= most else f"{text[:most]}…")


def sentence(message: object, most: int = MOST_SENTENCE) -> str:
    """A message that may contain text from outside: shortened, on one line, escaped."""
    text = str(message)
    return printable(text if len(text) <= most else f"{text[:most]}…")


def printable(text: str) -> str:
    """The same text with control characters, line breaks and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
