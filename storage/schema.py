"""Refuses a state Redis whose records an earlier Pixelmill has written in another layout.

Every key begins with the version of the layout, so this Pixelmill would not see those records, and
would serve beside them as if there were neither accounts nor jobs.
"""

from storage import keys
from storage.errors import OldLayout
from storage.redis.calls import NUMBER, Call, SyncRedis, command


def has_old_layout() -> Call[bool]:
    """Whether there are records of an earlier layout in this Redis."""
    return command(bool, "EXISTS", *keys.OLD_LAYOUTS, kinds=NUMBER)


def refuse_old_layout(link: SyncRedis) -> None:
    """Raises OldLayout if there are such records, StorageDown if Redis does not answer."""
    if link.do(has_old_layout()):
        raise OldLayout()
