"""What a run has computed: the JSON in its record, in the cache, and in its folder in S3."""

from typing import Any, NotRequired, TypedDict


class StoredObject(TypedDict):
    """One image of a result, as an object in S3."""

    key: str
    type: str
    """Media type."""
    width: int
    height: int
    bytes: int


class StoredResult(TypedDict):
    """A result as its run has recorded it."""

    kind: str
    width: int
    """Of the upload, upright."""
    height: int
    objects: dict[str, StoredObject]
    data: dict[str, Any]
    """What the model's `postprocess` returned."""
    orientation: NotRequired[int]
    """How the upload's file was turned to be upright, EXIF's 1..8."""
    browsers_agree: NotRequired[bool]
    """Whether browsers show the upload as it was read."""
    notes: NotRequired[list[str]]
    """Codes of tasks/imaging/notes.py."""
    degraded: NotRequired[bool]
    """Made by the fallback; such a result is not saved."""
    thumbnail: NotRequired[StoredObject]
    """A small picture of it, for lists of jobs."""
    made_s: NotRequired[int]
    """When it was saved, in seconds since 1970."""
