"""What the mattes are worth, against composites with exactly known alpha: raw, refined, by profile.

    make bench-quality

Errors per picture, then their mean. sad: sum of |difference| / 1000. mse: mean squared difference
x 1000. gradient: sum of the squared difference of the gradients (Gaussian, 1.4 px) / 1000, after
Rhemann et al., CVPR 2009. bleed: mean alpha where there is background only, in %.
Raw is the network's map enlarged plainly, refined what a job answers by default, edges the same
without removing haze (clean=false): the guided filter alone.
"""

import time
from statistics import mean
from typing import Any

import cv2
import numpy as np
import torch
from composites import Composite, composites
from table import save, show, verdict

from tasks.imaging import geometry
from tasks.models import matting, registry, weights
from tasks.models.matting import Matting

MEASURES = ("sad", "mse", "gradient", "bleed")
SIGMA_PX = 1.4
STATES = ("raw", "edges", "refined")
GOAL = 25.0
"""Percent of the gradient error that refinement must take away."""

Map = np.ndarray[Any, Any]


def errors(alpha: Map, truth: Map) -> dict[str, float]:
    """Both H x W uint8."""
    found, real = alpha.astype(np.float64) / 255, truth.astype(np.float64) / 255
    difference = found - real
    return {
        "sad": float(np.abs(difference).sum()) / 1000,
        "mse": float((difference**2).mean()) * 1000,
        "gradient": float(((_gradient(found) - _gradient(real)) ** 2).sum()) / 1000,
        "bleed": float(found[truth == 0].mean()) * 100,
    }


def _gradient(matte: Map) -> Map:
    """Its magnitude, by derivatives of a Gaussian."""
    reach = np.arange(-5, 6)
    smooth = np.exp(-(reach**2) / (2 * SIGMA_PX**2))
    slope = -reach / SIGMA_PX**2 * smooth
    smooth, slope = smooth / np.sqrt((smooth**2).sum()), slope / np.sqrt((slope**2).sum())
    across = cv2.sepFilter2D(matte, cv2.CV_64F, slope, smooth)
    return np.hypot(across, cv2.sepFilter2D(matte, cv2.CV_64F, smooth, slope))


class Profile:
    """One profile on the CPU."""

    def __init__(self, name: str) -> None:
        variant = registry.variant(registry.variant_name("matting", matting.MODEL, name))
        self.session = variant.load(weights.fetch_model(variant), "cpu")
        self.parameters = sum(p.numel() for p in self.session.parameters())
        self.ms: list[float] = []

    def map(self, image: Map) -> Map:
        """1 x 320 x 320, as the device hands it on."""
        batch = torch.from_numpy(matting.preprocess(image, Matting())[None])
        began = time.perf_counter()
        output = matting.infer(self.session, batch)[0].numpy()
        self.ms.append((time.perf_counter() - began) * 1000)
        return np.asarray(output)


def mattes(output: Map, image: Map) -> dict[str, Map]:
    """`raw`, `edges` and `refined`, at the image's size."""
    raw = geometry.resize(np.rint(output[0] * 255).astype(np.uint8), *image.shape[:2])
    edges, refined = (
        matting.postprocess(output, image, Matting(clean=clean), ()).images["alpha"]
        for clean in (False, True)
    )
    return {"raw": raw, "edges": edges, "refined": refined}


def measure(profile: Profile, pictures: list[Composite]) -> dict[tuple[str, str], dict[str, float]]:
    """(picture, raw or refined) -> its errors."""
    found = {}
    for picture in pictures:
        for state, alpha in mattes(profile.map(picture.image), picture.image).items():
            found[picture.name, state] = errors(alpha, picture.alpha)
    return found


def main() -> None:
    torch.set_num_threads(1)
    pictures = list(composites())
    figures: dict[str, float] = {}
    rows, worse = [], []
    for name in matting.MODEL.profiles:
        profile = Profile(name)
        found = measure(profile, pictures)
        for state in STATES:
            means = {
                key: round(mean(e[key] for (_, s), e in found.items() if s == state), 4)
                for key in MEASURES
            }
            figures |= {f"{name}_{state}_{key}": value for key, value in means.items()}
            rows.append([name, state, *means.values()])
        figures[f"{name}_parameters"] = profile.parameters
        figures[f"{name}_ms"] = round(sorted(profile.ms)[len(profile.ms) // 2], 1)
        worse += [
            f"{name}, {p.name}: mse {found[p.name, 'raw']['mse']:.2f} -> "
            f"{found[p.name, 'refined']['mse']:.2f}"
            for p in pictures
            if found[p.name, "refined"]["mse"] > found[p.name, "raw"]["mse"]
        ]
        by_picture = [[p.name, *(f"{found[p.name, s][k]:.2f}" for k in MEASURES
                                 for s in STATES)] for p in pictures]  # fmt: skip
        show(name, ["picture", *(f"{k} {s}" for k in MEASURES for s in STATES)], by_picture)
    show(f"mean of {len(pictures)} composites", ["profile", "matte", *MEASURES], rows)
    for name in matting.MODEL.profiles:
        raw, fine = (figures[f"{name}_{s}_gradient"] for s in ("raw", "refined"))
        figures[f"{name}_gradient_saved_percent"] = saved = round(100 * (1 - fine / raw), 1)
        verdict(f"{name}: gradient error taken away, %", saved, GOAL, at_most=False)
        print(f"{name}: {figures[f'{name}_parameters'] / 1e6:.2f} M parameters, "
              f"{figures[f'{name}_ms']:.0f} ms an image on one CPU thread")  # fmt: skip
    figures["mse_raised"] = len(worse)
    verdict("composites whose MSE refinement raised", len(worse), 0)
    print("\n".join(worse))
    save("quality", figures)


if __name__ == "__main__":
    main()
