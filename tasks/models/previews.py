"""The parameter of a model whose preview can be had in the format that a program wants."""

from pydantic import Field

from tasks.models.base import Params
from tasks.models.cutouts import IN_VIEWER, Format

PREVIEW = "preview"


class PreviewParams(Params):
    """Base of the parameters of a model that is not of kind `matte` and has a `preview`."""

    format: Format = Field(
        default="webp",
        title="Format",
        description="Of `preview`.",
        json_schema_extra=IN_VIEWER,
    )
