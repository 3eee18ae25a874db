"""Stand-in for tasks.imaging's geometry and alpha until they are there; then this file goes."""

import cv2
import numpy as np

from tasks.imaging.types import Alpha, Image, Tensor


def resize(image: Image, height: int, width: int) -> Image:
    """HW or HWC uint8 -> height x width."""
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def refine(matte: Tensor, image: Image) -> Alpha:
    """HW float32 0..1 -> HW uint8 of the image's size."""
    size = image.shape[1::-1]
    large = cv2.resize(matte, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.rint(np.clip(large, 0, 1) * 255), np.uint8)


def cutout(image: Image, alpha: Alpha) -> Image:
    """RGBA, RGB zero where alpha is zero."""
    return np.dstack([image * (alpha > 0)[..., None], alpha]).astype(np.uint8)
