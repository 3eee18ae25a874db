"""The Redis keys of quotas, built here and nowhere else."""

from storage.keys import PREFIX

QUOTA_PREFIX = f"{PREFIX}quota:"
USAGE_PREFIX = f"{PREFIX}usage:"
STORED_PREFIX = f"{PREFIX}stored:"


def quota(payer: str) -> str:
    """Hash of the quotas that were set for a payer alone: see storage/quotas.py."""
    return QUOTA_PREFIX + payer


def usage(payer: str) -> str:
    """Hash: what a payer has used in the present hour and day."""
    return USAGE_PREFIX + payer


def stored(payer: str) -> str:
    """Hash: seconds since 1970 at which objects of a payer expire -> their bytes."""
    return STORED_PREFIX + payer
