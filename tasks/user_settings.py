"""Settings of what each user may use, and of how long what they have is kept: a part of
tasks/settings.py."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class UserSettings(BaseSettings):
    """Part of Settings. `pixelmill users quota` sets other quotas for one user."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    max_in_flight: int = Field(64, ge=0)
    """Most runs of one user that are in progress. Above this, a request is answered 429. Equal
    requests are one run. 0: no limit. In open mode this and the next five are per client address
    (or IPv6 /64); `pixelmill users quota` sets values for one user alone."""
    images_per_hour: int = Field(0, ge=0)
    """Most new runs of one user within an hour. Known results and equal requests do not count. 0:
    no limit."""
    images_per_day: int = Field(0, ge=0)
    """The same within a day."""
    mib_per_hour: float = Field(0, ge=0)
    """Most MiB that one user may send for new work within an hour. 0: no limit."""
    mib_per_day: float = Field(0, ge=0)
    """The same within a day."""
    stored_mib: float = Field(0, ge=0)
    """Most MiB of uploads and results of one user that are stored at a time. 0: no limit."""
    role_weights: str = Field("user=1,admin=1", pattern=r"^((user|admin)=\d+(\.\d+)?(,|$))+$")
    """How much of the workers one user gets beside others who wait in the same priority, by role:
    with `user=1,admin=3` an admin gets three times as much as a user."""
    share_days: float = Field(30, ge=0, le=365)
    """Longest life in days of a link that shows one picture to whoever has it; no link outlives its
    picture. 0: users cannot make such links."""
    result_ttl_s: int = 7 * 24 * 3600
    """How long a result is kept, and the jobs that it answers in their users' histories. For six
    sevenths of this time it answers equal requests."""
    history_jobs: int = Field(50_000, ge=100)
    """Most jobs of one user in the history: about 2.5 KB each in the state Redis. The oldest leave
    first, and so do the oldest of all users when the state Redis is seven tenths full."""
    upload_ttl_s: int = 24 * 3600
    """How long an upload can be used. Then it is removed from S3, unless a job still waits for
    it."""

    @property
    def reuse_ttl_s(self) -> int:
        """How long a result answers equal requests."""
        return self.result_ttl_s * 6 // 7
