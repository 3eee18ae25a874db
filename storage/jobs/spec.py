"""What a run computes, and how messages and records name a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

VERSION = 1
"""Version of specs and messages; a process refuses a newer one than it knows."""


class NewerVersion(ValueError):
    """A newer Pixelmill than this one wrote the spec."""


@dataclass(frozen=True)
class RunRef:
    """One attempt at a run."""

    key: str
    """The request key of the run."""
    attempt: int
    """Grows each time the run is started or requeued; whoever names an earlier one is stale."""

    def __hash__(self) -> int:
        """That of the key, which a string keeps: a stage looks each run up a dozen times."""
        return hash(self.key)


@dataclass(frozen=True)
class Spec:
    """Everything that a stage needs to know of a run, written once when the run is started."""

    request_key: str
    user: str
    model: str
    params: Mapping[str, Any]
    output: Sequence[str]
    upload: str
    """Upload id; its bytes lie at object_keys.upload_object(user, upload)."""
    weights: str
    code: str
    body_sha256: str = ""
    """What the bytes must hash to, when the client declared it."""
    etag: str = ""
    image: str = ""
    """How the request key names the image; see request_keys.request_key."""
    traceparent: str = ""
    """W3C Trace Context of the request that started the run; empty if that is not sampled."""

    @property
    def model_version(self) -> str:
        """The version of the model that computes it."""
        return model_version(self.weights, self.code)

    def to_json(self) -> bytes:
        """The spec as it stands in the run's record."""
        fields = {"v": VERSION, **self.__dict__}
        if not self.traceparent:
            del fields["traceparent"]
        return orjson.dumps(fields)


def model_version(weights: str, code: str) -> str:
    """The short name of a version of a model, by the digests of its weights and its code."""
    return f"{short_digest(weights)}-{short_digest(code)}"


def short_digest(digest: str) -> str:
    """The part of a version that names these weights or this code."""
    return digest.removeprefix("sha256:")[:8]


def spec_from_json(text: str) -> Spec:
    """The spec in a run's record; NewerVersion if it has a version or fields unknown here."""
    fields = orjson.loads(text)
    if fields.pop("v") > VERSION or not fields.keys() <= Spec.__dataclass_fields__.keys():
        raise NewerVersion("this run was written by a newer version of Pixelmill")
    return Spec(**fields)
