"""Reads the UIDs of the DICOM files that slices came from. In the sandbox only."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from pydicom import dcmread

from tasks.imaging.volumes.dicom import Slice
from tasks.imaging.volumes.source import Source, is_source

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID",
]  # fmt: skip


def read(slices: Sequence[Slice | None], heads: Mapping[int, bytes]) -> Source | None:
    """The source of the slices in order; None if a file lacks what others refer to.

    `heads`: number of a file -> its first bytes.
    """
    known = {n: _identifiers(head) for n, head in heads.items()}
    first = next(known[each.file] for each in slices if each)
    source = {
        "study": first["StudyInstanceUID"],
        "series": first["SeriesInstanceUID"],
        "frame_of_reference": first["FrameOfReferenceUID"],
        "slices": [
            each
            and {
                "class": known[each.file]["SOPClassUID"],
                "instance": known[each.file]["SOPInstanceUID"],
                "frame": each.frame + 1 if each.is_multi_frame else 0,
                "position": None if each.position is None else each.position.tolist(),
            }
            for each in slices
        ],
    }
    return source if is_source(source) else None


def _identifiers(head: bytes) -> dict[str, str]:
    file = dcmread(BytesIO(head), stop_before_pixels=True, specific_tags=[*TAGS], force=True)
    return {name: str(file.get(name, "")) for name in TAGS}
