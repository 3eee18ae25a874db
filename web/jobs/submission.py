"""What a client asks for, and the spec of the run that computes it."""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from storage import request_keys
from storage.catalogue import ModelCard
from storage.jobs.spec import Spec
from storage.states import Priority
from tasks import tracing
from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.jobs import parameters
from web.text import shown

OUTPUTS = (
    "alpha", "mask", "preview", "edge_colours", "photo", "photo-png",
    "cutout", "cutout-png", "cutout-webp", "cutout-avif", "cutout-jpeg",
)  # fmt: skip
"""Pictures made from a matte: tasks/imaging/cutouts.py."""
DEFAULT_OUTPUT = ("alpha", "preview")
DEADLINES_S: Mapping[Priority, float] = {"interactive": 120, "batch": 3600}
LONGEST_DEADLINE_S = 24 * 3600
MAX_NAME = 200
"""Characters of a photo's name."""


@dataclass(frozen=True)
class Photo:
    """The image of a submission."""

    identity: str
    """What the request key knows it by: `<SHA-256>:<variant>`, or the id of its upload."""
    size: int
    """Bytes."""
    upload: str = ""
    """Id of the upload that has the bytes; empty while nobody has stored them."""
    data: bytes = b""
    """The bytes, if they came with the request."""
    media_type: str = ""
    body_sha256: str = ""
    """What the bytes must hash to; empty if nobody has declared that."""
    etag: str = ""


@dataclass(frozen=True)
class FairShare:
    """Whose part of the workers a job uses while others wait too, and how large that part is."""

    flow: str = ""
    """Runs of one flow are served in order. Empty: the user."""
    weight: float = 1.0


@dataclass(frozen=True)
class Submission:
    """One job that a user asks for."""

    user: str
    model: str
    photo: Photo
    params: Mapping[str, Any] = field(default_factory=dict)
    """As given: neither checked nor completed."""
    output: Sequence[str] = DEFAULT_OUTPUT
    priority: Priority = "interactive"
    keep: bool = True
    """False: the job is cancelled when nobody has read it for a while."""
    deadline_s: float | None = None
    """Seconds from now until it fails as expired; None: default_deadline_s."""
    idempotency_key: str = ""
    """Submitted again with the same key, the same user gets the same job."""
    share: FairShare = FairShare()
    payer: str = ""
    """Whose quotas it uses; empty: the user's."""
    name: str = ""
    """What the user calls the photo; nobody else sees it."""

    may_be_lighter: bool = True
    """Whether a lighter profile or model may compute it while many people wait."""

    @property
    def paid_by(self) -> str:
        """Whose quotas it uses."""
        return self.payer or self.user


class UploadNeeded(JobError):
    """Neither a result nor the bytes of this file are known."""

    code = "upload_needed"
    status = 409


def spec_of(submission: Submission, card: ModelCard) -> Spec:
    """The run that computes it. Raises BadInput for a wrong parameter or output."""
    params = parameters.canonical(card["params"], submission.params)
    for name in submission.output:
        if name not in OUTPUTS:
            names = ", ".join(OUTPUTS)
            raise BadInput(f"no output {shown(name)}; there are: {names}", code="bad_output")
    photo = submission.photo
    spec = Spec(
        request_key="",
        user=submission.user,
        model=submission.model,
        params=params,
        output=list(submission.output),
        upload=photo.upload or secrets.token_hex(16),
        weights=card["weights"],
        code=card["code"],
        body_sha256=photo.body_sha256,
        etag=photo.etag,
        image=photo.identity,
        traceparent=tracing.current(),
    )
    return with_key(spec)


def default_deadline_s(card: ModelCard, priority: Priority) -> float:
    """Seconds until a job fails as expired that says nothing of that."""
    is_volume = card.get("input") == "volume"
    return DEADLINES_S[priority] + (settings().volume_limit_s if is_volume else 0)


def name_of_photo(path: str) -> str:
    """What a photo is called whose file a client calls so: on one line, without folders, short."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", path)[-1])
    return "".join(sign for sign in name if sign.isprintable()).strip()[:MAX_NAME]


def with_key(spec: Spec) -> Spec:
    """The same spec with the request key of its contents."""
    key = request_keys.request_key(
        settings().secret,
        spec.user,
        image=spec.image,
        model=spec.model,
        weights=spec.weights,
        code=spec.code,
        params=spec.params,
        output=spec.output,
    )
    return replace(spec, request_key=key)


def idempotency(submission: Submission, spec: Spec) -> tuple[str, str] | None:
    """(Idempotency-Key, digest of all that is asked for); None without a key. The spec is that of
    what is asked for, though something lighter may compute it."""
    if not submission.idempotency_key:
        return None
    work = [submission.photo.identity, spec.model, spec.params, spec.output]
    asked = [*work, submission.priority, submission.keep, submission.deadline_s]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    return submission.idempotency_key, digest.hexdigest()
