"""`python tests/sample_volume.py` makes the page's sample volume: a phantom of a chest, no patient.

40 slices of 128 x 128 voxels of 8 x 2.8 x 2.8 mm. In mm from the centre (to the left, the back, the
head): the body is a cylinder on an ellipse of 155 x 105, the lungs are ellipsoids of half-axes
52 x 72 x 125 (the body's right, at -70) and 48 x 70 x 125 (left, at 72). The heart, an ellipsoid
of 55 x 50 x 60 at (30, -25, -50), is taken out of them, and so are vessels. Spine, ribs, windpipe
and vessels are cylinders and balls.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from nifti_files import nifti_gz
from PIL import Image

SAMPLES = Path(__file__).parent.parent / "web" / "static" / "samples"
SHAPE, SPACING_MM = (40, 128, 128), (8.0, 2.8, 2.8)
AIR, FAT, TISSUE, LUNG, BONE = -1000, -95, 45, -850, 480
NOISE_HU, VESSELS = 12, 60

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def phantom() -> "np.ndarray[Any, np.dtype[np.int16]]":
    """Z x H x W in HU: feet first, the front at the top, the body's left at the right."""
    chance = np.random.default_rng(7)
    z, y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)),
        indexing="ij",
    )

    def ball(at: tuple[float, float, float], axes: tuple[float, float, float]) -> Mask:
        parts = (((c - m) / a) ** 2 for c, m, a in zip((x, y, z), at, axes, strict=True))
        return np.asarray(sum(parts) <= 1)

    volume = np.full(SHAPE, float(AIR))
    volume[(x / 155) ** 2 + (y / 105) ** 2 <= 1] = FAT
    volume[(x / 140) ** 2 + (y / 92) ** 2 <= 1] = TISSUE
    ring = (x / 132) ** 2 + (y / 86) ** 2
    volume[(ring > 0.86) & (ring <= 1) & (np.sin(z / 9 + y / 30) > 0.35)] = BONE
    lungs = ball((-70, 0, 0), (52, 72, 125)) | ball((72, 0, 0), (48, 70, 125))
    volume[lungs] = LUNG
    for _ in range(VESSELS):
        at = chance.uniform((-115, -60, -110), (115, 60, 110))
        radius = chance.uniform(2.5, 5)
        volume[ball(tuple(at), (radius, radius, 18)) & lungs] = TISSUE
    volume[ball((30, -25, -50), (55, 50, 60))] = TISSUE + 10
    volume[(x**2 + (y - 68) ** 2) <= 16**2] = BONE
    volume[(x**2 + (y + 5) ** 2 <= 9**2) & (z > 20)] = AIR
    noise = chance.normal(0, NOISE_HU, SHAPE)
    return (np.round((volume + noise) / 8) * 8).clip(-1024, 3071).astype(np.int16)


def main() -> None:
    """Write the volume, and the small picture of it that the page offers it by."""
    volume = phantom()
    (SAMPLES / "phantom.nii.gz").write_bytes(nifti_gz(volume, SPACING_MM))
    middle = ((volume[22].astype(float) + 1350) / 1500 * 255).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(middle).crop((0, 15, 128, 113)).resize((152, 116))
    picture.save(SAMPLES / "phantom.webp", quality=80)


if __name__ == "__main__":
    sys.exit(main())
