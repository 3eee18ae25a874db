"""Parameters that every model of cut-outs has: what the pictures made from its matte look like."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from tasks.models.base import Params

UPLOAD_ID = "[0-9a-f]{32}"
IN_VIEWER: JsonDict = {"x-in-viewer": True}
"""In a field's schema: for programs; the page composes pictures itself, so its form lacks it."""
Format = Literal["webp", "png", "avif", "jpeg"]
"""Of a picture whose type is chosen."""


class CutoutParams(Params):
    """Base of the parameters of every model of kind `matte`."""

    background: str = Field(
        default="",
        pattern=f"^(|#[0-9a-fA-F]{{6}}|blur|{UPLOAD_ID})$",
        title="Background",
        description="Empty: transparent. #rrggbb: a colour. blur: the photo's own ground, blurred. "
        "Or the id of an upload of yours, which fills the picture.",
        json_schema_extra={**IN_VIEWER, "x-upload": True},
    )
    crop: Literal["none", "subject"] = Field(
        default="none",
        title="Crop",
        description="subject: only the part of the photo around what was found.",
        json_schema_extra=IN_VIEWER,
    )
    margin: float = Field(
        default=0.05,
        ge=0,
        le=1,
        title="Margin",
        description="Room around the subject where it is cropped to, as a share of its longer "
        "side. The photo's border limits it.",
        json_schema_extra=IN_VIEWER,
    )
    format: Format = Field(
        default="webp",
        title="Format",
        description="Of `cutout`. A JPEG has a white background if none is given.",
        json_schema_extra=IN_VIEWER,
    )
    max_side: int = Field(
        default=0,
        ge=0,
        le=16_384,
        title="Largest side",
        description="Of the pictures, in pixels; they are never enlarged. 0: as large as the "
        "upload.",
        json_schema_extra=IN_VIEWER,
    )
    colour: Literal["srgb", "keep"] = Field(
        default="srgb",
        title="Colours",
        description="keep: cut-outs have the upload's own colour space, and its profile.",
        json_schema_extra=IN_VIEWER,
    )
