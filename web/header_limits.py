"""How large the headers of a request may be: all of them together."""

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
"""Of their names and values."""
