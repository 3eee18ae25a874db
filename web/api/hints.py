"""What went wrong on the client's side when a body is not a picture, as far as its bytes tell."""

from tasks.errors import BadInput
from web.api.base64_text import is_base64

FORM_TYPE = b"application/x-www-form-urlencoded"
"""What curl sends with -d and --data-binary unless it is told otherwise."""
_STRIPPED = (b"\xff\xd8\xff", b"\x89PNG\x1a", b"RIFF", b"GIF8", b"II*", b"MM*", b"BM")
"""How pictures begin once their line breaks and NULs are gone."""
_GZIP = b"\x1f\x8b"
_FILE = "`--data-binary @photo.jpg`, `-T photo.jpg` or `-F image=@photo.jpg`"


def check_whole(data: bytes, kind: bytes) -> None:
    """Raises BadInput for a picture that `curl -d @file` has sent without its line breaks.

    No decoder could tell it from a broken one. Ends at the first line break or NUL.
    """
    if kind == FORM_TYPE and data and _has_lost_bytes(data):
        raise BadInput(
            "the picture has lost its line breaks and NUL bytes on the way: `curl -d @file` drops "
            "them",
            code="stripped_file",
            hint=f"With curl, send the file by {_FILE}.",
        )


def explained(error: BadInput, data: bytes, kind: bytes) -> BadInput:
    """The guard's error, with a hint that fits what was sent in the picture's place."""
    if hint := _hint(data, kind):
        error.hint = hint
    return error


def of_large_volume(error: BadInput) -> BadInput:
    """The error for a body above the limit, where the model takes volumes."""
    error.hint = (
        "Send a larger volume to an address from POST /api/v1/uploads, or with `pixelmill run`."
    )
    return error


def _has_lost_bytes(data: bytes) -> bool:
    if b"\0" in data or b"\n" in data or b"\r" in data or data.isascii():
        return False
    return data.startswith(_STRIPPED) or b"ftyp" in data[:16]


def _hint(data: bytes, kind: bytes) -> str:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data:
        return f"Send the file's bytes as the body; with curl, by {_FILE}."
    if data.startswith(_GZIP):
        return "This is compressed by gzip: send the picture as it is."
    if start.startswith(b"{"):
        return "This is JSON: send it with the header `Content-Type: application/json`."
    if start.startswith(b"--") and b"content-disposition:" in start.lower():
        return (
            "This is a form: its header `Content-Type: multipart/form-data; boundary=...` is "
            "missing."
        )
    if len(start) >= 64 and is_base64(start):
        return (
            'This is base64: send it as {"image": "<base64>"} with the header '
            "`Content-Type: application/json`."
        )
    if kind == FORM_TYPE:
        return f"With curl, send the file by {_FILE}."
    return ""
