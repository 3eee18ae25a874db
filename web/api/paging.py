"""The cursors of lists that come a page at a time."""

import re

from tasks.errors import BadInput
from web.middleware.validation import matches

ENTRY_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,10}")
"""The id of an entry of the audit log, or of the pilot's."""


def checked_cursor(cursor: str, form: re.Pattern[str]) -> str:
    """The cursor; BadInput unless it is empty or of this form, as `next` of an earlier page is."""
    if cursor and not matches(form, cursor):
        raise BadInput("cursor is not `next` of an earlier page", code="bad_request")
    return cursor
