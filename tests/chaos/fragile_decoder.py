"""The decoder, which a marked picture brings down: see models/stamp.py."""

import os

from tasks.imaging import decoder

MARK = b"brings the decoder down"
"""Somewhere in the file."""


def decode(data, memory, arguments):
    if MARK in data:
        os.abort()
    return decoder.decode(data, memory, arguments)
