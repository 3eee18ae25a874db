"""The pictures to learn from: one folder per patient, slices numbered from the feet upwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput
from tasks.imaging.volumes.body import Slices, Square, body_square

LOW, HIGH = -1000, 400
"""HU of the values 0 and 255 of a picture."""


@dataclass(frozen=True)
class Patient:
    """All slices of one patient, and what is lung in them."""

    name: str
    slices: Slices
    lungs: NDArray[np.bool_]
    """Z x H x W."""
    square: Square

    @property
    def with_lung(self) -> NDArray[np.bool_]:
        """Z: the slices that have lung."""
        return np.asarray(self.lungs.any(axis=(1, 2)))


def read(folder: Path) -> list[Patient]:
    """The patients in `folder`: `<patient>/<number>_ct.png` (8 bits) and `<number>_mask.png`.

    Raises BadInput if there are none.
    """
    patients = [_patient(each) for each in sorted(folder.iterdir()) if each.is_dir()]
    found = [patient for patient in patients if patient is not None]
    if not found:
        raise BadInput(
            f"no patients in {folder}",
            hint="It has a folder per patient, with 000_ct.png and 000_mask.png in it.",
        )
    return found


def without(patients: Sequence[Patient], names: Sequence[str]) -> list[Patient]:
    """The patients but those with these names (or ends of names). Raises BadInput for others."""
    for name in names:
        if not any(patient.name.endswith(name) for patient in patients):
            known = ", ".join(patient.name for patient in patients)
            raise BadInput(f"no patient {name!r}; there are: {known}")
    return [each for each in patients if not each.name.endswith(tuple(names) or ("\0",))]


def _patient(folder: Path) -> Patient | None:
    files = sorted(folder.glob("*_ct.png"))
    if not files:
        return None
    pixels = np.stack([_grey(file) for file in files]).astype(np.float32)
    slices = np.rint(pixels * ((HIGH - LOW) / 255) + LOW).astype(np.int16)
    lungs = np.stack([_grey(file.with_name(f"{file.name[:-7]}_mask.png")) > 0 for file in files])
    return Patient(folder.name, slices, lungs, body_square(slices))


def _grey(file: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise BadInput(f"{file} is missing or no picture")
    return picture.astype(np.uint8, copy=False)
