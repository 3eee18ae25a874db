"""Whether a file is one that its model takes, before its run is claimed: a picture or a volume."""

from storage.catalogue import ModelCard
from tasks.errors import BadInput
from tasks.imaging.volumes import kinds
from tasks.settings import settings
from web.jobs.submission import Submission
from web.jobs.uploads import MEDIA_TYPES, VOLUME_TYPES, Uploads, too_large


async def check(uploads: Uploads, submission: Submission, card: ModelCard) -> None:
    """Raises BadInput for a volume that the model does not take (415) or not so large (413).

    Of what a client has sent to S3 by itself the first bytes are looked at.
    """
    photo, takes = submission.photo, card.get("input", "image")
    most = settings().max_bytes(card["name"], takes)
    if photo.size > most:
        raise too_large(most)
    if takes == "image":
        if photo.media_type in VOLUME_TYPES:
            raise BadInput(
                "This model takes pictures, and the file is a volume.",
                code="unsupported_type",
                status=415,
                hint="Choose a model of volumes, or send a picture.",
            )
        return
    if photo.upload and photo.media_type not in MEDIA_TYPES:
        start = await uploads.start(submission.user, photo.upload)
        if not kinds.media_type(start):
            raise BadInput(
                "This file is not accepted; DICOM, a zip of DICOM files, NIfTI and NRRD are.",
                code="unsupported_type",
                status=415,
                hint="Export the series as a zip of its DICOM files, or as NIfTI or NRRD.",
            )
