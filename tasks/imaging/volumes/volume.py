"""A volume as models get it: its slices in one orientation, and what is known of its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """The slices of a volume. All but the voxels is JSON, which travels between the stages."""

    voxels: NDArray[np.int16]
    """Z x H x W: slices from the feet to the head; of each the front at the top, the body's left at
    the right. Hounsfield units where `is_hu`."""
    spacing_mm: Sequence[float]
    """Between the centres of voxels along Z, H and W; zeros where it is unknown."""
    grid: Mapping[str, Any] = field(default_factory=dict)
    """How the file's own grid lies to these slices: to write a mask back onto it."""
    is_hu: bool = True
    """False: values are those of pictures whose window is unknown."""
    notes: Sequence[str] = ()
    """What was assumed or left out, as English sentences. Nothing of a patient is in them."""
    source: Mapping[str, Any] | None = None
    """Which DICOM files the slices came from (source.Source), if the model has asked for it."""

    def facts(self) -> dict[str, Any]:
        """All but the voxels, as JSON."""
        return {
            "spacing_mm": [float(side) for side in self.spacing_mm],
            "grid": dict(self.grid),
            "is_hu": self.is_hu,
            "notes": list(self.notes),
            "source": self.source,
        }


def restored(voxels: NDArray[np.int16], facts: Mapping[str, Any]) -> Volume:
    """The volume of these voxels and of what `facts` said of it."""
    return Volume(voxels, **facts)
