"""Every S3 key, built here and nowhere else, so that none can collide."""

import re
import secrets

UPLOADS = "in/"
"""S3 prefix of uploads."""
RESULTS = "out/"
"""S3 prefix of results."""
WEIGHTS = "models/"
"""S3 prefix of converted weights."""
_EDITION = re.compile(rf"{RESULTS}[^/]+/[^/]+/([0-9]{{10}})-[0-9a-f]{{8}}/")


def uploads_folder(user: str) -> str:
    """S3 prefix of all uploads of a user."""
    return f"{UPLOADS}{user}/"


def results_folder(user: str) -> str:
    """S3 prefix of all results of a user."""
    return f"{RESULTS}{user}/"


def upload_object(user: str, upload_id: str) -> str:
    """S3 key of an upload's bytes."""
    return f"{uploads_folder(user)}{upload_id}"


def result_folder(user: str, request_key: str) -> str:
    """S3 prefix of everything that came of one request: all editions of its result."""
    return f"{results_folder(user)}{request_key}/"


def edition_folder(user: str, request_key: str, made_s: int) -> str:
    """S3 prefix of one edition of a result: new at every call, so that nothing is overwritten.

    `made_s`: when it is made, in seconds since 1970. A listing shows older editions first.
    """
    return f"{result_folder(user, request_key)}{made_s:010}-{secrets.token_hex(4)}/"


def edition_made_s(key: str) -> int:
    """When the edition that this S3 key belongs to was made, in seconds since 1970; 0: of none."""
    match = _EDITION.match(key)
    return int(match[1]) if match else 0


def weights_object(sha256: str, name: str) -> str:
    """S3 key of a file of converted weights."""
    return f"{WEIGHTS}{sha256}/{name}"
