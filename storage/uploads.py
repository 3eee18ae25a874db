"""Records of uploads: what a user has sent, and which original it was made from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.redis.answers import fields, flat, maybe_text, text
from storage.redis.calls import ARRAY, FIELDS, MAYBE_TEXT, NUMBER, Call, command, script
from storage.redis.connection import Word

_ID = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True)
class Stored:
    """Bytes of an upload that count as stored."""

    payer: str
    bytes: int
    is_counted: bool
    """Whether they were counted before the record is written: storage/quotas.py."""


def write(
    user: str,
    upload_id: str,
    record: Mapping[str, Word],
    *,
    ttl_s: int,
    original: tuple[str, str] | None = None,
    stored: Stored | None = None,
) -> Call[Any]:
    """Write an upload's record; `original` = (sha256, variant) once its bytes are really there.

    `stored`: for whom its bytes count as stored until the record expires; None: for nobody.
    """
    names = [keys.upload(user, upload_id)]
    if original:
        names.append(keys.upload_of(user, *original))
    values = {"ttl_ms": ttl_s * 1000, "upload_id": upload_id, "record": flat(record)}
    if stored:
        values["stored"] = stored
    return script("uploads", lambda answer: answer, names, values, kinds=NUMBER)


def read(user: str, upload_id: str) -> Call[dict[str, str]]:
    """An upload's record; empty if this user has no such upload."""
    return command(fields, "HGETALL", keys.upload(user, upload_id), kinds=FIELDS)


def exists(user: str, upload_id: str) -> Call[bool]:
    """Whether this user has such an upload."""
    return command(bool, "EXISTS", keys.upload(user, upload_id), kinds=NUMBER)


def in_use(after: str = "", most: int = 250) -> Call[tuple[set[tuple[str, str]], str]]:
    """(user, id) of the uploads that runs under way read, a page of runs at a time, and where the
    next page begins; empty after the last one."""

    def parse(answer: Sequence[Any]) -> tuple[set[tuple[str, str]], str]:
        next_after, *runs = answer
        # In the parameters of a run there may be other uploads, such as its background.
        named = {(text(user), found) for user, spec in runs for found in _ID.findall(text(spec))}
        return named, text(next_after)

    return script("jobs/uploads_in_use", parse, [], {"after": after, "most": most}, kinds=ARRAY)


def forget_unneeded(most: int = 50) -> Call[list[tuple[str, str]]]:
    """Forget uploads that were to be deleted when their runs ended, and that no job under way
    needs: (user, id) of each, whose object the caller deletes."""

    def parse(answer: Sequence[Any]) -> list[tuple[str, str]]:
        members = (text(member).rpartition(":") for member in answer)
        return [(user, upload_id) for user, _, upload_id in members]

    return script("jobs/forget_uploads", parse, [], {"most": most}, kinds=ARRAY)


def find(user: str, sha256: str, variant: str) -> Call[str | None]:
    """The id of this user's upload of that original, if its bytes are there."""
    return command(maybe_text, "GET", keys.upload_of(user, sha256, variant), kinds=MAYBE_TEXT)
