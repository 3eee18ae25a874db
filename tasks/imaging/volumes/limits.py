"""How large a volume may be. Web processes read this too, so it imports nothing large."""

from dataclasses import dataclass

from tasks.imaging.header import MIB


@dataclass(frozen=True)
class Limits:
    """How large a volume may be."""

    max_bytes: int = 256 * MIB
    """Of the file."""
    max_raw_bytes: int = 512 * MIB
    """Of its voxels."""
    max_slices: int = 1024
