"""What a slice may look like: turned, scaled, of another scanner, noisy, of an ill patient."""

import math
import random

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.training.lungct.data import Patient
from tasks.training.lungct.illness import ill
from tasks.training.lungct.pictures import AIR, SIDE, Mask, Picture, blurred


def augmented(patient: Patient, z: int, chance: random.Random) -> tuple[Picture, Mask]:
    """A random view of slice `z` of a patient, and its lungs."""
    matrix = _placement(patient, chance)
    slice_, mask = _thick_slice(patient, z, chance), patient.lungs[z].astype(np.float32)
    if chance.random() < 0.35:
        slice_, mask = _joined(patient, z, slice_, mask, chance)
    picture = _warped(slice_, matrix, AIR)
    lungs = (_warped(mask, matrix, 0.0) > 0.5).astype(np.float32)
    if lungs.any():
        picture, lungs = ill(picture, lungs, chance)
    if chance.random() < 0.4:
        picture = _with_things_beside(picture, chance)
    if chance.random() < 0.08:
        picture, lungs = _cut_round(picture, lungs, chance)
    return scanned(picture, chance), lungs


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


def _joined(
    patient: Patient, z: int, slice_: Picture, mask: Mask, chance: random.Random
) -> tuple[Picture, Mask]:
    """On one side of a line what another slice has, further up or down: in each patient another
    part of the lungs reaches lowest, and a network that has seen few has learnt which."""
    other = min(max(z + chance.choice((-1, 1)) * chance.randint(2, 15), 0), len(patient.slices) - 1)
    turn, square = chance.uniform(0, 2 * math.pi), patient.square
    height, width = slice_.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle = (square.x + square.side / 2, square.y + square.side / 2)
    away = (x - middle[0]) * math.cos(turn) + (y - middle[1]) * math.sin(turn)
    place = chance.gauss(0, 0.12) * square.side
    share = np.clip((away - place) / chance.uniform(2, 12) + 0.5, 0, 1)
    joined = slice_ + (patient.slices[other].astype(np.float32) - slice_) * share
    return joined, np.where(share > 0.5, patient.lungs[other], mask).astype(np.float32)


def _with_things_beside(picture: Picture, chance: random.Random) -> Picture:
    """With a table below, which is flat or round, or arms, in the air around the body."""
    air = (picture < -500).astype(np.uint8)
    padded = np.pad(air, 1, constant_values=1)
    cv2.floodFill(padded, None, (0, 0), (2,))
    around = padded[1:-1, 1:-1] == 2
    things = picture.copy()
    if chance.random() < 0.7:
        height, sag = chance.uniform(0.8, 0.99) * SIDE, chance.choice((0, chance.uniform(0, 60)))
        middle = (SIDE // 2 + round(chance.gauss(0, 10)), round(height - sag))
        axes = (round(chance.uniform(0.3, 0.7) * SIDE), max(1, round(sag)))
        value = chance.uniform(-800, 200)
        for below in range(0, chance.choice((1, 12)), 6):
            centre, width = (middle[0], middle[1] + below), chance.randint(1, 3)
            cv2.ellipse(things, centre, axes, 0, 0, 180, (value,), width)
    else:
        for side in chance.sample((0, SIDE), chance.randint(1, 2)):
            centre = (side + round(chance.gauss(0, 6)), round(chance.uniform(0.3, 0.8) * SIDE))
            size = chance.randint(8, 24)
            axes, turn = (size, round(size * chance.uniform(0.8, 1.4))), chance.uniform(0, 180)
            cv2.ellipse(things, centre, axes, turn, 0, 360, (chance.uniform(-80, 60),), -1)
            cv2.circle(things, centre, size // 3, (chance.uniform(200, 900),), -1)
    return np.where(around, blurred(things, 0.6), picture)


def _cut_round(picture: Picture, lungs: Mask, chance: random.Random) -> tuple[Picture, Mask]:
    """As a scanner's round field shows a body that is larger than the field."""
    field = np.zeros((SIDE, SIDE), np.uint8)
    middle = (SIDE // 2 + round(chance.gauss(0, 8)), SIDE // 2 + round(chance.gauss(0, 8)))
    cv2.circle(field, middle, round(chance.uniform(0.4, 0.52) * SIDE), (1,), -1)
    return np.where(field > 0, picture, np.float32(AIR)), lungs * field


def scanned(picture: Picture, chance: random.Random) -> Picture:
    """As another scanner would show it: contrast, sharpness, resolution, noise."""
    picture = (picture - AIR) * chance.uniform(0.9, 1.1) + AIR + chance.gauss(0, 30)
    if chance.random() < 0.3:  # contrast agent, or a bone window of an export
        picture = np.where(picture > 0, picture * chance.uniform(0.5, 2.0), picture)
    kind = chance.random()
    if kind < 0.3:
        picture = blurred(picture, chance.uniform(0.4, 1.8))
    elif kind < 0.6:
        smooth = blurred(picture, chance.uniform(0.7, 1.5))
        picture = picture + (picture - smooth) * chance.uniform(0.3, 1.8)
    if chance.random() < 0.2:
        side = chance.randint(90, 200)
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        larger = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        picture = larger.astype(np.float32, copy=False)
    if chance.random() < 0.6:
        picture = picture + _noise(chance)
    return picture.astype(np.float32, copy=False)


def _noise(chance: random.Random) -> Picture:
    """Noise in HU: fine, coarse, or in streaks from side to side as between the shoulders."""
    noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(
        (SIDE, SIDE), dtype=np.float32
    )
    kind = chance.random()
    if kind < 0.4:
        noise = blurred(noise, chance.uniform(0.5, 1.2)) * 2
    elif kind < 0.55:
        streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=chance.uniform(4, 12), sigmaY=0.6)
        noise = streaks.astype(np.float32, copy=False) * 5
    return noise * np.float32(math.exp(chance.uniform(math.log(5), math.log(90))))
