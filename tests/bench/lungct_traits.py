"""make bench-lungct_traits ARGS="--data DIR": how well lungs are found in CTs of other traits.

Each trait changes the slices of the patients of `--data` (as `pixelmill train lungct` takes them),
and their contours where it moves them: what another scanner, dose, position or illness would do.
Simulations are no other collection: they show what breaks, and not how well it goes elsewhere. With
`--weights FILE --patients NAMES` weights are measured on patients that they have not seen.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from lungct import SLICE_MM, agreement, found, other, shipped
from table import save, show, verdict

from tasks.imaging.volumes import padding
from tasks.training.lungct import data

GOAL = 0.955
AIR, FIELD_MM = -1000, 1.95
"""HU outside; mm of a pixel of the pictures, of planning CTs with a field of 500 mm."""

Scan = tuple[np.ndarray, np.ndarray]
"""Z x H x W int16 in HU, and what is lung in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per patient")
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    parser.add_argument("--patients", nargs="*", default=[""], help="ends of names of patients")
    parser.add_argument("--traits", nargs="*", default=list(TRAITS), help="of those in this file")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    infer = other(asked.weights) if asked.weights else shipped()
    patients = [each for each in data.read(asked.data) if each.name.endswith(tuple(asked.patients))]
    rows, figures = [], {}
    for trait in asked.traits:
        results = []
        for patient in patients:
            slices, reference = TRAITS[trait](patient.slices, patient.lungs)
            slices = np.array(slices)
            padding.to_air(slices)  # as whoever reads files does
            ours, _ = found(infer, slices, DISTANCES_MM.get(trait, SLICE_MM))
            results.append(agreement(ours, reference))
        dice = [result[0] for result in results]
        figures[trait] = min(dice)
        ends = [f"{result[2]}/{result[3]}" for result in results]
        row = [trait, f"{np.mean(dice):.4f}", *(f"{value:.3f}" for value in dice), " ".join(ends)]
        print("  ".join(row), flush=True)
        rows.append(row)
    names = [patient.name[-6:] for patient in patients]
    show("Dice of each trait", ["trait", "mean", *names, "false/missed slices"], rows)
    for trait, dice in figures.items():
        verdict(f"least Dice, {trait}", round(dice, 4), GOAL, at_most=False)
    save("lungct_traits", figures)


def as_it_is(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    return slices, lungs


def noisy(sigma: float, grain: float) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """With noise of so many HU, whose grain is a Gaussian of so many pixels (0: white)."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        chance = np.random.default_rng(1)
        noise = chance.standard_normal(slices.shape, dtype=np.float32)
        if grain:
            noise = np.stack([cv2.GaussianBlur(each, (0, 0), grain) for each in noise])
        return _whole(slices + noise * (sigma / noise.std())), lungs

    return change


def kernel(sigma: float, gain: float = 0.0) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """Softer by a Gaussian of so many pixels, or sharper by what that takes away."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        plain = slices.astype(np.float32)
        soft = np.stack([cv2.GaussianBlur(each, (0, 0), sigma) for each in plain])
        return _whole(plain + (plain - soft) * gain if gain else soft), lungs

    return change


def thick(count: int) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """The average of so many slices of 3 mm each."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        whole = len(slices) // count * count
        shape = (whole // count, count, *slices.shape[1:])
        mean = slices[:whole].reshape(shape).mean(axis=1)
        return _whole(mean), lungs[:whole].reshape(shape).mean(axis=1) > 0.5

    return change


def thin(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """Slices of 1 mm, interpolated."""
    places = np.arange(3 * len(slices) - 2) / 3
    low = places.astype(int)
    share = (places - low)[:, None, None].astype(np.float32)
    high = np.minimum(low + 1, len(slices) - 1)
    mean = slices[low] * (1 - share) + slices[high] * share
    return _whole(mean), lungs[low] * (1 - share) + lungs[high] * share > 0.5


def moved(
    degrees: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0), side: int = 256
) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """Turned, scaled and shifted (shares of the field's side), in slices of `side` pixels."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        before, scale = slices.shape[1], side / slices.shape[1]
        centre = ((before - 1) / 2, (before - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, degrees, zoom * scale)
        matrix[:, 2] += (side - before) / 2 + np.array(shift) * side

        def warped(image: np.ndarray, outside: float) -> np.ndarray:
            plain = image.astype(np.float32)
            return cv2.warpAffine(plain, matrix, (side, side), borderValue=(outside,))

        pictures = np.stack([_whole(warped(each, AIR)) for each in slices])
        return pictures, np.stack([warped(each, 0.0) > 0.5 for each in lungs])

    return change


def in_a_circle(share: float, outside: float) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """Seen in a round field of a share of the side; outside it has a value of its own."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        y, x = _offsets(slices)
        is_seen = np.hypot(x, y) < share / 2
        return _whole(np.where(is_seen, slices, outside)), lungs & is_seen

    return change


def with_arms(gap: float) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """With an arm on each side, so far from the chest (a share of the side; 0: touching)."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        y, x = _offsets(slices)
        columns = np.flatnonzero((slices > -300).mean(axis=(0, 1)) > 0.05)
        edges = (columns[[0, -1]] + 0.5) / slices.shape[2] - 0.5
        changed = slices.copy()
        for edge, sign in zip(edges, (-1, 1), strict=True):
            away = np.hypot(x - edge - sign * (0.08 + gap), y)
            changed[:, away < 0.08] = 40
            changed[:, away < 0.025] = 400
        return changed, lungs

    return change


def with_table(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """With a thick curved table of plastic that the back lies on."""
    y, x = _offsets(slices)
    rows = np.flatnonzero((slices > -300).mean(axis=(0, 2)) > 0.05)
    back = (rows[-1] + 1) / slices.shape[1] - 0.5
    height = back - 0.35 * x**2 - y
    is_table = (np.abs(x) < 0.45) & (height > -0.06) & (height < 0)
    return np.where(is_table & (slices < -300), 60, slices).astype(np.int16), lungs


def contrast(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """Blood, and what takes it up, is up to 300 HU brighter."""
    soft = np.stack([cv2.GaussianBlur(each.astype(np.float32), (0, 0), 3) for each in slices])
    bright = np.clip((soft - 20) / 40, 0, 1) * 300
    return _whole(slices + np.where(slices > -150, bright, bright * 0.15)), lungs


def offset(units: float) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """Badly calibrated: what is no air is off by so many HU."""
    return lambda slices, lungs: (_whole(slices + np.where(slices > -990, units, 0)), lungs)


def denser(units: float) -> Callable[[np.ndarray, np.ndarray], Scan]:
    """Lungs of somebody who has breathed out, or of emphysema: so many HU more at the back."""

    def change(slices: np.ndarray, lungs: np.ndarray) -> Scan:
        y, _ = _offsets(slices)
        inside = np.stack([cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1) for each in lungs])
        return _whole(slices + inside * units * np.clip(0.6 + 3 * y, 0.2, 1.5)), lungs

    return change


def long(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """From the thighs to the head: 120 slices below the chest, and 60 above it."""
    y, x = _offsets(slices)
    thighs = np.full(slices.shape[1:], AIR, np.int16)
    for side in (-1, 1):
        thighs[np.hypot(x - 0.1 * side, y) < 0.09] = 40
        thighs[np.hypot(x - 0.1 * side, y) < 0.02] = 700
    head = np.full(slices.shape[1:], AIR, np.int16)
    head[np.hypot(x, y * 0.8) < 0.16] = 40
    head[np.abs(np.hypot(x, y * 0.8) - 0.145) < 0.012] = 1000
    head[np.hypot(x, y + 0.08) < 0.02] = -1000
    below = [slices[:1]] * 60 + [thighs[None]] * 60
    every = np.concatenate([*below[::-1], slices, *[head[None]] * 60])
    none = np.zeros((1, *lungs.shape[1:]), bool)
    return every, np.concatenate([*[none] * 120, lungs, *[none] * 60])


def chest_only(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """A scan that begins and ends within the lungs."""
    seen = np.flatnonzero(lungs.any(axis=(1, 2)))
    first, last = seen[len(seen) // 3], seen[-len(seen) // 4]
    return slices[first:last], lungs[first:last]


def bases_only(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """A scan of the abdomen, with the bases of the lungs at its end."""
    last = np.flatnonzero(lungs.any(axis=(1, 2)))[0] + 14
    return slices[:last], lungs[:last]


def tumour(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """A ball of 60 mm of soft tissue at the wall of a lung, which the reference leaves out."""
    z, y, x = (int(np.median(axis)) for axis in np.nonzero(lungs))
    x = int(np.flatnonzero(lungs[z, y])[0])
    up, down, right = np.ogrid[: len(slices), : slices.shape[1], : slices.shape[2]]
    away = np.sqrt(
        ((up - z) * 3) ** 2 + ((down - y) * FIELD_MM) ** 2 + ((right - x) * FIELD_MM) ** 2
    )
    soft = np.clip((30 - away) / FIELD_MM + 0.5, 0, 1) * lungs
    return _whole(slices * (1 - soft) + 35 * soft), lungs & (away >= 30)


def fluid(slices: np.ndarray, lungs: np.ndarray) -> Scan:
    """Fluid at the back of one lung, up to a fifth of its depth, which the reference leaves out."""
    _, x = _offsets(slices)
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    level = rows[0] + 0.8 * (rows[-1] - rows[0])
    is_fluid = lungs & (x < 0) & (np.arange(slices.shape[1])[:, None] > level)
    return np.where(is_fluid, 10, slices).astype(np.int16), lungs & ~is_fluid


def _offsets(slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and x of each pixel from the middle, as shares of the side."""
    height, width = slices.shape[1:]
    y, x = np.ogrid[:height, :width]
    return (y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5


def _whole(units: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(units), -2000, 3071).astype(np.int16)


TRAITS: dict[str, Callable[[np.ndarray, np.ndarray], Scan]] = {
    "as it is": as_it_is,
    "half dose: noise of 40 HU": noisy(40, 0.7),
    "low dose: noise of 100 HU": noisy(100, 0.7),
    "white noise of 80 HU": noisy(80, 0),
    "softer": kernel(1.2),
    "sharper": kernel(1.0, 1.5),
    "1 mm slices": thin,
    "9 mm slices": thick(3),
    "15 mm slices": thick(5),
    "turned by 10 degrees": moved(10),
    "turned by -10 degrees": moved(-10),
    "field of 350 mm, cuts the skin": moved(zoom=1.43),
    "field of 700 mm": moved(zoom=0.71),
    "off the centre": moved(shift=(0.16, -0.1)),
    "512 x 512": moved(side=512),
    "1024 x 1024": moved(side=1024),
    "round field, padding of -2000": in_a_circle(0.9, -2000),
    "small round field, padding of 0": in_a_circle(0.7, 0),
    "arms beside": with_arms(0.02),
    "arms that touch": with_arms(-0.01),
    "thick table": with_table,
    "contrast agent": contrast,
    "50 HU too high": offset(50),
    "50 HU too low": offset(-50),
    "breathed out": denser(200),
    "emphysema": denser(-120),
    "from thighs to head": long,
    "chest cut above and below": chest_only,
    "bases alone": bases_only,
    "tumour of 60 mm": tumour,
    "fluid in one lung": fluid,
}

DISTANCES_MM = {"1 mm slices": 1.0, "9 mm slices": 9.0, "15 mm slices": 15.0}
"""Of the slices, where a trait changes it."""


if __name__ == "__main__":
    main()
