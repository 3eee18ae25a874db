"""What a file of a volume is, by its first bytes: all that is looked at before its run begins."""

START_BYTES = 352
"""So much of a file tells what it is: the magic of NIfTI is at 344."""
UNKNOWN = "application/octet-stream"
"""What clients declare of a file that they do not know."""
MEDIA_TYPES = (
    "application/zip", "application/gzip", "application/dicom", "application/x-nifti",
    "application/x-nrrd", UNKNOWN,
)  # fmt: skip
"""Types that a client may declare of a volume. What a file is, its bytes say alone."""
_MAGIC = {
    b"PK\x03\x04": "application/zip",
    b"PK\x05\x06": "application/zip",  # of no files, which is said of it then
    b"\x1f\x8b": "application/gzip",
    b"NRRD000": "application/x-nrrd",
}
_NIFTI_SIZES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""348 and 540 in either byte order: the headers' sizes, which NIfTI-1 and -2 begin with."""
_BARE_DICOM = (b"\x02\0\0\0", b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0")
"""The first tag of a DICOM file without its preamble."""


def media_type(start: bytes) -> str:
    """The media type of a file that begins so (START_BYTES, if it has them); empty if it is none
    of a volume."""
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[128:132] == b"DICM" or start.startswith(_BARE_DICOM):
        return "application/dicom"
    if start.startswith(_NIFTI_SIZES) and (start[344:346] == b"n+" or start[4:6] == b"n+"):
        return "application/x-nifti"
    return ""
