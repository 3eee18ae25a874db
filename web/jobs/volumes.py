"""Whether a file is one that its model takes, before its run is claimed: a picture or a volume."""

from storage.catalogue import ModelCard
from tasks.errors import BadInput
from tasks.imaging.volumes import kinds
from tasks.settings import MIB, settings
from web.jobs.submission import Submission
from web.jobs.uploads import MEDIA_TYPES, VOLUME_TYPES, Uploads, not_accepted, too_large

SCRATCH_TIMES = 4
"""Arrays of a volume in memory, as a multiple of its file: twice for the voxels, as files have
half of that, and once each for what the model makes of them before and after inference."""


def is_discarded(card: ModelCard) -> bool:
    """Whether the uploads of this model's runs are deleted when these end."""
    return card.get("input") == "volume" and not settings().keep_volumes


def scratch_bytes(card: ModelCard, size: int) -> int:
    """About how many bytes of arrays a run on a file of this size will have; of a picture, 0: they
    are few, and those of all runs together are counted as they are."""
    return SCRATCH_TIMES * size if card.get("input") == "volume" else 0


async def check(
    uploads: Uploads, submission: Submission, card: ModelCard, scratch: tuple[int, int]
) -> None:
    """Raises BadInput for a volume that the model does not take (415) or not so large (413).

    `scratch`: bytes of arrays, and how many there may be; 0 for no limit. Of what a client has sent
    to S3 by itself the first bytes are looked at.
    """
    photo, takes = submission.photo, card.get("input", "image")
    most = settings().max_bytes(card["name"], takes)
    if photo.size > most:
        raise too_large(most)
    if takes == "image":
        if photo.media_type == kinds.UNKNOWN:
            raise not_accepted(photo.media_type, MEDIA_TYPES)
        if photo.media_type in VOLUME_TYPES:
            raise BadInput(
                "This model takes pictures, and the file is a volume.",
                code="unsupported_type",
                status=415,
                hint="Choose a model of volumes, or send a picture.",
            )
        return
    needed, memory = scratch_bytes(card, photo.size), scratch[1]
    if needed >= memory > 0:
        raise BadInput(
            f"this volume needs {needed / MIB:.0f} MiB of memory for arrays; there are "
            f"{memory / MIB:.0f} MiB",
            code="too_large",
            status=413,
            hint="Send fewer slices. Whoever runs this server can raise PIXELMILL_SCRATCH_MIB.",
        )
    if photo.upload and photo.media_type not in MEDIA_TYPES:
        start = await uploads.start(submission.user, photo.upload)
        if not kinds.media_type(start):
            raise BadInput(
                "This file is not accepted; DICOM, a zip of DICOM files, NIfTI and NRRD are.",
                code="unsupported_type",
                status=415,
                hint="Export the series as a zip of its DICOM files, or as NIfTI or NRRD.",
            )
