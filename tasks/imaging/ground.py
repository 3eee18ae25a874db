"""What a subject is put on: a colour, its own ground blurred, or another picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.imaging import geometry
from tasks.imaging.frame import Frame
from tasks.imaging.parts import enlarged
from tasks.imaging.types import Alpha, Image

_BLUR_SIDE, _BLUR_SIGMA = 512, 10.0
"""Size at which the ground is blurred, and how far."""
_LEAST_WEIGHT = 1 / 512


@dataclass(frozen=True)
class Ground:
    """A picture of any size, stretched over what it fills."""

    picture: Image
    height: int
    """Of what it fills, in pixels."""
    width: int
    left: int
    """Where the frame begins in it."""
    top: int
    right: int

    @classmethod
    def of(
        cls, name: str, photo: Image, alpha: Alpha, frame: Frame, backdrop: Image | None
    ) -> "Ground | None":
        """The ground that `name` asks for; None where it is transparent."""
        if not name:
            return None
        if name == "blur":
            blurred = _blurred(photo, alpha)
            return cls(blurred, frame.height, frame.width, frame.left, 0, frame.right)
        height, width = frame.bottom - frame.top, frame.right - frame.left
        if name.startswith("#"):
            colour = np.array([[tuple(bytes.fromhex(name[1:]))]], np.uint8)
            return cls(colour, height, width, 0, frame.top, width)
        if backdrop is None:
            raise ValueError("the background's picture is missing")
        return cls(_covering(backdrop, height, width), height, width, 0, frame.top, width)

    def rows(self, top: int, bottom: int) -> Image:
        """The rows of the whole picture from `top` to `bottom`, inside the frame's columns."""
        part = slice(top - self.top, bottom - self.top), slice(self.left, self.right)
        return enlarged(self.picture, part, (self.height, self.width))


def _blurred(photo: Image, alpha: Alpha) -> Image:
    """The ground, blurred; where the subject was, it continues, so that no halo is left."""
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _BLUR_SIDE)
    weight = 1 - geometry.resize(alpha, height, width).astype(np.float32) / 255
    colours = geometry.resize(photo, height, width).astype(np.float32) * weight[..., None]
    total = cv2.GaussianBlur(weight, (0, 0), _BLUR_SIGMA)
    near = cv2.GaussianBlur(colours, (0, 0), _BLUR_SIGMA)
    far = colours.sum((0, 1)) / max(float(weight.sum()), 1.0)  # deep inside a large subject
    mixed = (near + _LEAST_WEIGHT * far) / (total + _LEAST_WEIGHT)[..., None]
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _covering(picture: Image, height: int, width: int) -> Image:
    """The middle of the picture with the proportions of height x width, not enlarged."""
    scale = min(picture.shape[0] / height, picture.shape[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    part = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    return geometry.resize(part, height, width) if rows > height else part
