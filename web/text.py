"""Makes text from outside fit for a message or a log: short, and without what it may not say."""

import re

from tasks.log import printable
from tasks.settings import settings

MAX_VALUE = 80
"""Characters of a name or value that a message repeats."""
MAX_SENTENCE = 300
"""Characters of a message written by a library, which may repeat what the library was given."""

MAX_PATH = 80
"""Characters of a path that are logged."""
_ID = re.compile(r"[0-9a-f]{16,}")
_NAMED = re.compile(r"(^/s/|^/api/v1/predict/[^/]*/|/file=).+")
"""What follows is the token of a link, or what somebody calls a file."""


def logged(path: str) -> str:
    """The path of a request for logs, whose readers must not learn which job, upload, link or file
    it was about: such parts are `*`."""
    bucket = f"/{settings().s3_bucket}/"
    if path.startswith(bucket):
        return f"{bucket}*"
    return _ID.sub("*", _NAMED.sub(r"\1*", path))[:MAX_PATH]


def shown(value: object, limit: int = MAX_VALUE) -> str:
    """The value in quotes, shortened; unprintable characters appear as escapes."""
    text = str(value)
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def sentence(message: object, limit: int = MAX_SENTENCE) -> str:
    """A message that may contain text from outside: shortened, on one line, escaped."""
    text = str(message)
    return printable(text if len(text) <= limit else f"{text[:limit]}…")
