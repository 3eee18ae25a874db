"""The keys of equal work: request keys and content keys, made with the installation's secret."""

import hmac
import json
from collections.abc import Mapping, Sequence

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def request_key(
    secret: str,
    owner: str,
    *,
    image: str,
    model: str,
    weights: str,
    code: str,
    params: Mapping[str, object],
    output: Sequence[str],
) -> str:
    """64 hex digits that are equal exactly for equal work of one owner.

    `image` names the bytes: what the client claims of them. A secret keyed hash, so that nobody who
    holds a picture can work out whether another user has sent it.
    """
    parts = [owner, image, model, weights, code, params, sorted(output)]
    return _mac(secret, parts)


def content_key(
    secret: str,
    scope: str,
    *,
    sha256: str,
    model: str,
    weights: str,
    code: str,
    params: Mapping[str, object],
    output: Sequence[str],
) -> str:
    """64 hex digits that are equal exactly for equal work on equal bytes within `scope`.

    `sha256` is of the bytes really read; `scope` a user, or empty for the whole installation.
    """
    parts = ["content", scope, sha256, model, weights, code, params, sorted(output)]
    return _mac(secret, parts)


def _mac(secret: str, parts: Sequence[object]) -> str:
    return hmac.digest(secret.encode(), _CANONICAL.encode(parts).encode(), "sha256").hex()
