"""Lungs of ill patients: dense or full of air, with spots, haze, masses and fluid.

What stays lung follows the collections that the network is compared with, which leave tumours and
fluid out: small dense spots and haze of any size are lung, large masses and fluid are not.
"""

import math
import random

import cv2
import numpy as np

from tasks.training.lungct.pictures import SIDE, Mask, Picture, blurred, smooth_noise

SPOT = 7.0
"""Largest radius in pixels, 11 mm, of something solid that is still lung."""
MASS = (9.0, 30.0)
"""Smallest and largest radius of a mass, which is not."""


def ill(picture: Picture, lungs: Mask, chance: random.Random) -> tuple[Picture, Mask]:
    """A slice that has lung, with or without some illness, and what is still lung in it."""
    if chance.random() < 0.35:  # breathed out or in, or lying long: unevenly denser or darker
        field = smooth_noise(chance, 4) * 0.5 + chance.uniform(-0.8, 1.0)
        picture = picture + np.clip(field, -0.8, 1.5) * 180 * blurred(lungs, 1.0)
    if chance.random() < 0.3:
        distances = cv2.distanceTransform(lungs.astype(np.uint8), cv2.DIST_L2, 5)
        inside = distances.astype(np.float32, copy=False)
        for _ in range(chance.randint(1, 3)):
            picture = _with_spot(picture, inside, chance)
    kind = chance.random()
    if kind < 0.2:
        return _with_mass(picture, lungs, chance)
    if kind < 0.3:
        return _with_fluid(picture, lungs, chance)
    return picture, lungs


def _with_spot(picture: Picture, inside: Picture, chance: random.Random) -> Picture:
    """A solid spot or haze, inside the lung or up to its edge.

    `inside`: distance of each pixel of lung to the edge.
    """
    at = _somewhere(inside > 2, chance)
    if at is None:
        return picture
    solid = chance.random() < 0.5
    most = min(float(inside[at[1], at[0]]) + 1.5, SPOT if solid else 22.0)
    soft = blurred(_ellipse(at, chance.uniform(2, most), chance), chance.uniform(0.6, 2.5))
    if not solid or chance.random() < 0.5:
        soft *= np.clip(smooth_noise(chance, 24) + 0.8, 0, 1)
    value = chance.uniform(-50, 90) if solid else chance.uniform(-650, -200)
    return picture + (value - picture) * soft


def _with_mass(picture: Picture, lungs: Mask, chance: random.Random) -> tuple[Picture, Mask]:
    """A large ragged mass of soft tissue, often at the wall: what it takes is no lung."""
    at = _somewhere(lungs > 0, chance)
    if at is None:
        return picture, lungs
    shape = blurred(_ellipse(at, chance.uniform(*MASS), chance), chance.uniform(1.5, 5))
    ragged = (shape + smooth_noise(chance, 24) * chance.uniform(0, 0.15) > 0.5).astype(np.float32)
    value = chance.uniform(-10, 90) + smooth_noise(chance, 12) * chance.uniform(0, 25)
    # Outside the lung, tissue and bone stay as they are.
    soft = blurred(ragged, chance.uniform(0.5, 1.2)) * blurred(lungs, 0.6)
    return picture + (value - picture) * soft, lungs * (ragged == 0)


def _with_fluid(picture: Picture, lungs: Mask, chance: random.Random) -> tuple[Picture, Mask]:
    """One lung with fluid, or fallen together, below a slanted or curved level."""
    count, parts = cv2.connectedComponents(lungs.astype(np.uint8), connectivity=8)
    part = parts == chance.randint(1, count - 1)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    middle = float(x[part].mean())
    height = y + (x - middle) * chance.gauss(0, 0.3) + (x - middle) ** 2 * chance.gauss(0, 0.004)
    level = np.percentile(height[part], chance.uniform(50, 97))
    fluid = (part & (height > level)).astype(np.float32)
    value = chance.uniform(-15, 60) + smooth_noise(chance, 16) * chance.uniform(0, 15)
    soft = blurred(fluid, chance.uniform(0.5, 1.5))
    # Where the lung meets the wall there is no air left.
    soft = np.where(blurred(fluid, 1.0) > 0.25, np.maximum(soft, fluid), soft)
    return picture + (value - picture) * soft, lungs * (fluid == 0)


def _somewhere(where: np.ndarray, chance: random.Random) -> tuple[int, int] | None:
    """x, y of a random pixel where it is true."""
    ys, xs = np.nonzero(where)
    if not len(ys):
        return None
    k = chance.randrange(len(ys))
    return int(xs[k]), int(ys[k])


def _ellipse(at: tuple[int, int], size: float, chance: random.Random) -> Picture:
    """1 in an ellipse of random turn and shape, else 0."""
    cover = np.zeros((SIDE, SIDE), np.float32)
    axes = (round(size), max(1, round(size * chance.uniform(0.5, 1))))
    cv2.ellipse(cover, at, axes, math.degrees(chance.uniform(0, math.pi)), 0, 360, (1.0,), -1)
    return cover
