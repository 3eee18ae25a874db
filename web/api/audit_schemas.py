"""What routes of the audit log answer: for the OpenAPI document."""

from datetime import datetime

from pydantic import BaseModel, Field


class AuditEvent(BaseModel):
    """Something that somebody did."""

    id: str
    at: datetime
    user: str = Field(description="Empty where nobody is known, as at a failed sign-in.")
    kind: str = Field(description="By what the user was known, or `cli`.")
    action: str
    target: str = Field(description="The id or the account that it was done to; may be empty.")
    network: str = Field(description="The /24 or /48 network that it came from.")
    outcome: str = Field(description="`ok`, or the code of the error.")


class Audit(BaseModel):
    """A page of the audit log, newest first."""

    events: list[AuditEvent]
    next: str | None = Field(description="Send it as `cursor` for the next page.")
