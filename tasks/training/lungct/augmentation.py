"""What a slice may look like: turned, scaled, of another scanner, noisy, with dense spots."""

import math
import random

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.training.lungct.data import Patient

SIDE = 256
AIR = -1000.0

Picture = NDArray[np.float32]
"""SIDE x SIDE in HU."""
Mask = NDArray[np.float32]
"""SIDE x SIDE, 0 or 1."""


def augmented(patient: Patient, z: int, chance: random.Random) -> tuple[Picture, Mask]:
    """A random view of slice `z` of a patient, and its lungs."""
    matrix = _placement(patient, chance)
    picture = _warped(_thick_slice(patient, z, chance), matrix, AIR)
    lungs = (_warped(patient.lungs[z].astype(np.float32), matrix, 0.0) > 0.5).astype(np.float32)
    if lungs.any():
        picture = _denser_lungs(picture, lungs, chance)
    return _scanned(picture, chance), lungs


def _placement(patient: Patient, chance: random.Random) -> NDArray[np.float64]:
    """2 x 3: the body's square turned, scaled, moved and, as seen from the other side, mirrored."""
    zoom = math.exp(chance.uniform(math.log(0.75), math.log(1.25)))
    stretch = math.exp(chance.gauss(0, 0.06))
    turn = math.radians(chance.gauss(0, 8))
    mirrored = -1.0 if chance.random() < 0.5 else 1.0
    prone = -1.0 if chance.random() < 0.15 else 1.0
    scale = np.diag([zoom * stretch * mirrored, zoom / stretch * prone])
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ scale
    middle = np.full(2, (SIDE - 1) / 2)
    moved = np.array([chance.gauss(0, 0.04 * SIDE) for _ in range(2)])
    jitter = np.column_stack((turned, middle - turned @ middle + moved))
    matrix: NDArray[np.float64] = jitter @ np.vstack([patient.square.to_crop(SIDE), [0, 0, 1]])
    return matrix


def _warped(image: Picture, matrix: NDArray[np.float64], background: float) -> Picture:
    return cv2.warpAffine(
        image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=(background,)
    ).astype(np.float32, copy=False)


def _thick_slice(patient: Patient, z: int, chance: random.Random) -> Picture:
    """The slice, or its average with a neighbour: thicker slices blur the borders upwards."""
    picture: Picture = patient.slices[z].astype(np.float32)
    if chance.random() < 0.3:
        other = min(max(z + chance.choice((-1, 1)), 0), len(patient.slices) - 1)
        share = chance.uniform(0.1, 0.45)
        beside = patient.slices[other].astype(np.float32)
        picture = picture * np.float32(1 - share) + beside * np.float32(share)
    return picture


def _denser_lungs(picture: Picture, lungs: Mask, chance: random.Random) -> Picture:
    """Lungs with less air in them, and dense spots inside, which stay lung."""
    if chance.random() < 0.35:  # breathed out, or lying long: denser, unevenly
        field = _smooth_noise(chance, 4) * 0.5 + chance.uniform(-0.4, 1.0)
        picture = picture + np.clip(field, -0.4, 1.5) * 180 * cv2.GaussianBlur(lungs, (0, 0), 1.0)
    if chance.random() < 0.3:
        distances = cv2.distanceTransform(lungs.astype(np.uint8), cv2.DIST_L2, 5)
        inside = distances.astype(np.float32, copy=False)
        for _ in range(chance.randint(1, 3)):
            picture = _with_spot(picture, inside, chance)
    return picture


def _with_spot(picture: Picture, inside: Picture, chance: random.Random) -> Picture:
    """A round or ragged spot of soft tissue or of haze, inside the lung or up to its edge."""
    ys, xs = np.nonzero(inside > 2)
    if not len(ys):
        return picture
    k = chance.randrange(len(ys))
    x, y = int(xs[k]), int(ys[k])
    most = min(float(inside[y, x]) + 1.5, 22.0)
    size = chance.uniform(2, most) if most > 2 else most
    cover = np.zeros((SIDE, SIDE), np.uint8)
    axes = (round(size), max(1, round(size * chance.uniform(0.5, 1))))
    cv2.ellipse(cover, (x, y), axes, chance.uniform(0, 180), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(cover, (0, 0), chance.uniform(0.6, 2.5)).astype(np.float32) / 255
    if chance.random() < 0.5:
        soft *= np.clip(_smooth_noise(chance, 24) + 0.8, 0, 1)
    value = chance.uniform(-50, 90) if chance.random() < 0.7 else chance.uniform(-600, -200)
    return (picture + (value - picture) * soft).astype(np.float32)


def _scanned(picture: Picture, chance: random.Random) -> Picture:
    """As another scanner would show it: contrast, sharpness, resolution, noise."""
    picture = (picture - AIR) * chance.uniform(0.9, 1.1) + AIR + chance.gauss(0, 25)
    if chance.random() < 0.3:  # contrast agent, or a bone window of an export
        picture = np.where(picture > 0, picture * chance.uniform(0.5, 2.0), picture)
    kind = chance.random()
    if kind < 0.3:
        picture = _blurred(picture, chance.uniform(0.4, 1.5))
    elif kind < 0.6:
        blurred = _blurred(picture, chance.uniform(0.7, 1.5))
        picture = picture + (picture - blurred) * chance.uniform(0.3, 1.5)
    if chance.random() < 0.2:
        side = chance.randint(90, 200)
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        larger = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        picture = larger.astype(np.float32, copy=False)
    if chance.random() < 0.6:
        noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(
            (SIDE, SIDE), dtype=np.float32
        )
        if chance.random() < 0.5:
            noise = _blurred(noise, chance.uniform(0.5, 1.2)) * 2
        picture = picture + noise * math.exp(chance.uniform(math.log(5), math.log(70)))
    return picture.astype(np.float32, copy=False)


def _blurred(picture: Picture, sigma: float) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32, copy=False)


def _smooth_noise(chance: random.Random, cells: int) -> Picture:
    """SIDE x SIDE: standard normal noise on a grid of cells, interpolated."""
    values = np.random.default_rng(chance.getrandbits(32)).standard_normal(
        (cells, cells), dtype=np.float32
    )
    return cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(
        np.float32, copy=False
    )
