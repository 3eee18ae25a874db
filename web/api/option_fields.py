"""Options that every request for work has, in a query as in a body."""

from pydantic import Field

from web.jobs.submission import LONGEST_DEADLINE_S

KEEP = Field(
    default=True,
    description="False: the job is cancelled when nobody has read it for 30 s.",
)
DEADLINE = Field(
    default=None,
    gt=0,
    le=LONGEST_DEADLINE_S,
    allow_inf_nan=False,
    description="Seconds until it fails as `expired`. Default: 120, with priority batch 3600; of a "
    "volume as much more as its work may take.",
)
LIGHTER = Field(
    default=True,
    description="False: neither lighter settings nor a lighter model are used for it, however many "
    "people wait.",
)
